//! Where requests are redirected to that came without TLS: to the port that speaks it.

use proxy_core::Port;

use crate::{
    expression::Expression,
    settings::{Bind, TlsMode},
};

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// The port that speaks TLS, or will once there is a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecurePort {
    bound: Option<Port>,
    /// Whether clients who say no port come in where something is bound.
    is_direct: bool,
}

// === impl SecurePort ===

impl SecurePort {
    /// Of several, https's own, else the first.
    pub(super) fn of(binds: &[Bind]) -> Self {
        let mut secure = binds.iter().filter(|bind| bind.tls != TlsMode::Plain);
        let usual = |bind: &&Bind| bind.port.get() == HTTPS;
        let bound = secure.clone().find(usual).or_else(|| secure.next());
        Self {
            bound: bound.map(|bind| bind.port),
            is_direct: binds.iter().any(|bind| bind.port.get() == HTTP),
        }
    }

    /// The URL up to its path, as a format. `asked` is the port that the service says.
    ///
    /// A client that says the port came to one of ours, so its next is ours too. One that says none came to port 80,
    /// which something maps to ours where it is not bound, and 443 then most likely as well.
    pub(super) fn url(self, asked: Option<Port>) -> Option<Expression> {
        let port = asked.or(self.bound)?.get();
        Some(Expression::from(match (port, self.is_direct) {
            (HTTPS, _) => "https://%[req.fhdr(host),regsub(':[0-9]*$','')]".to_owned(),
            (port, true) => format!("https://%[req.fhdr(host),regsub(':[0-9]*$','')]:{port}"),
            (port, false) => format!("https://%[req.fhdr(host),regsub(':[0-9]*$',':{port}')]"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::BindAddress;

    #[test]
    fn the_port_is_said_where_a_client_needs_it() {
        let bind = |port: &u16| Bind::plain(BindAddress::Any, Port::new(*port).unwrap());
        let bare = "https://%[req.fhdr(host),regsub(':[0-9]*$','')]";
        let kept = "https://%[req.fhdr(host),regsub(':[0-9]*$',':18443')]";
        for (plain, secure, asked, expected) in [
            (&[80][..], &[443][..], None, Some(bare.to_owned())),
            (&[18000], &[443], None, Some(bare.to_owned())),
            (&[80], &[8443, 443], None, Some(bare.to_owned())),
            (&[80], &[18443], None, Some(format!("{bare}:18443"))),
            (&[18000], &[18443], None, Some(kept.to_owned())),
            (&[80], &[443], Some(18443), Some(format!("{bare}:18443"))),
            (&[80], &[], Some(443), Some(bare.to_owned())),
            (&[80], &[], None, None),
        ] {
            let secure = secure.iter().map(bind);
            let secure = secure.map(|bind| bind.with_tls(TlsMode::TlsWhenCertificate));
            let binds: Vec<_> = plain.iter().map(bind).chain(secure).collect();
            let url = SecurePort::of(&binds).url(asked.and_then(Port::new));
            assert_eq!(url, expected.map(Expression::from), "{binds:?} {asked:?}");
        }
    }
}
