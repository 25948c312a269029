//! A replica inside another program, which drops it, or ends it after a part of it ended.

use std::{net::TcpListener, path::Path, time::Duration};

use proxy_server::{MapSource, Server, Settings, SettingsErrors};

/// An address of its own: a port that is let go here, no other test takes.
const HOST: &str = "127.62.0.1";

/// A replica whose HAProxy never starts: nothing here needs one.
fn settings(home: &Path, port: u16) -> Result<Settings, SettingsErrors> {
    let below = |name: &str| home.join(name).display().to_string();
    let source = MapSource::new([
        ("IP", HOST.to_owned()),
        ("PORT", port.to_string()),
        ("DEFAULT_PORTS", "1".to_owned()),
        ("HAPROXY_BIN", below("no-haproxy")),
        ("CONFIGS_PATH", below("cfg")),
        ("RUN_PATH", below("run")),
        ("STATE_PATH", below("state")),
        ("CERTS_PATH", below("certs")),
    ]);
    Settings::read(&source)
}

#[tokio::test]
async fn a_replica_that_was_dropped_leaves_its_port_and_folders() {
    let home = tempfile::tempdir().unwrap();
    let reserved = TcpListener::bind((HOST, 0)).unwrap();
    let port = reserved.local_addr().unwrap().port();
    drop(reserved);
    let start = || Server::start(settings(home.path(), port).unwrap());
    for _ in 0..3 {
        drop(start().await.unwrap());
        // Aborted tasks go when they are next looked at.
        let mut left = Err("nobody looked".to_owned());
        for _ in 0..300 {
            left = match start().await {
                Ok(server) => {
                    server.shutdown(Duration::MAX).await;
                    Ok(())
                }
                Err(error) => Err(format!("{error:#}")),
            };
            if left.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        left.unwrap();
    }
}
