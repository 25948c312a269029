//! The command line: a flag for every setting, made from the table of settings.

use std::{io, path::Path};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use crate::settings::{DEFINITIONS, MapSource, Sensitivity};

/// The flag that is no setting: see [`manual`].
pub const MANUAL: &str = "manual";

/// The flag that has HAProxy ended instead of a server started: see [`left`](crate::left).
pub const END_HAPROXY: &str = "end-haproxy";

/// The command with all its flags.
#[must_use]
pub fn command() -> Command {
    let flags = DEFINITIONS.iter().map(|definition| {
        let secret = definition.sensitivity == Sensitivity::Secret;
        let mut help = definition.help.to_owned();
        if !definition.default.is_empty() {
            help.push_str(&format!(" [default: {}]", definition.default));
        }
        if secret {
            help.push_str(
                " (other users of the machine see flags; prefer the environment or a secret file)",
            );
        }
        Arg::new(definition.name)
            .long(flag(definition.name))
            .value_name("VALUE")
            .help(help)
    });
    Command::new("proxy-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A reverse proxy for services that come and go: HAProxy carries the traffic, Consul remembers it, any replica takes a change")
        .after_help("Each flag is also a variable of the environment (CONSUL_ADDRESS for --consul-address) and a secret file (dfp_consul_address in SECRETS_PATH). Flags win over secret files, secret files over the environment. Exit codes: 0 ended as asked, 1 failed, 64 settings that cannot be used.")
        .args(flags)
        .arg(
            Arg::new(END_HAPROXY)
                .long(END_HAPROXY)
                .action(ArgAction::SetTrue)
                .help("Start nothing: end the HAProxy that a server left serving in RUN_PATH (ON_END), after DRAIN_DELAY and before SHUTDOWN_TIMEOUT. Fails where a server runs there"),
        )
        .arg(
            Arg::new(MANUAL)
                .long(MANUAL)
                .value_name("FOLDER")
                .value_parser(value_parser!(std::path::PathBuf))
                .hide(true)
                .help("Write the manual page and the completions of shells into a folder, for packagers"),
        )
}

/// Writes the manual page and the completions of shells into a folder, for packagers.
///
/// # Errors
/// When the folder cannot be written.
pub fn manual(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command(), folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command(), "proxy-server", folder)?;
    }
    Ok(())
}

/// The settings that flags give.
#[must_use]
pub fn source(matches: &ArgMatches) -> MapSource {
    let given = DEFINITIONS.iter().filter_map(|definition| {
        let value = matches.get_one::<String>(definition.name)?;
        Some((definition.name, value.clone()))
    });
    MapSource::new(given)
}

fn flag(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SettingsSource;

    #[test]
    fn every_setting_has_a_flag() {
        command().debug_assert();
        let matches = command()
            .try_get_matches_from(["proxy-server", "--consul-address", "a:8500", "--port=81"])
            .unwrap();
        let source = source(&matches);
        assert_eq!(
            source.get("CONSUL_ADDRESS").unwrap().as_deref(),
            Some("a:8500")
        );
        assert_eq!(source.get("PORT").unwrap().as_deref(), Some("81"));
        assert_eq!(source.get("IP"), Ok(None));
    }

    #[test]
    fn the_manual_names_every_setting() {
        let folder = tempfile::tempdir().unwrap();
        manual(folder.path()).unwrap();
        let page = std::fs::read_to_string(folder.path().join("proxy-server.1")).unwrap();
        // A hyphen of the text is one that can be searched for.
        let page = page.replace("\\-", "-");
        for definition in DEFINITIONS {
            let flag = format!("--{}", flag(definition.name));
            assert!(page.contains(&flag), "{flag}: {page}");
        }
        for name in ["proxy-server.bash", "_proxy-server", "proxy-server.fish"] {
            assert!(folder.path().join(name).is_file(), "{name}");
        }
    }
}
