//! The binary: settings, logs, a replica, signals.

use std::{process::ExitCode, time::Duration};

use proxy_server::{
    EXIT_USAGE, Layered, ProcessEnv, SecretFiles, Server, Settings, SettingsSource, flags, logging,
};
use tokio::signal::unix::{SignalKind, signal};

/// How long open connections and calls may take to end. Docker kills 10 s after it asks.
const GRACE: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    let matches = flags::command().get_matches();
    let given = flags::source(&matches);
    let folder = Layered::new(vec![Box::new(given.clone()), Box::new(ProcessEnv::new())])
        .get("SECRETS_PATH");
    let secrets = SecretFiles::new(folder.unwrap_or_else(|| "/run/secrets".to_owned()).into());
    let source = Layered::new(vec![
        Box::new(given),
        Box::new(secrets),
        Box::new(ProcessEnv::new()),
    ]);
    let settings = match Settings::read(&source) {
        Ok(settings) => settings,
        Err(errors) => {
            eprintln!("proxy-server: {errors}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Err(error) = logging::start(&settings.log) {
        eprintln!("proxy-server: LOG={:?}: {error}", settings.log.filter);
        return ExitCode::from(EXIT_USAGE);
    }
    let run = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(serve(settings))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal asks for the end. A second signal ends at once.
async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(settings).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(grace = ?GRACE, "asked to end: finishing what is open");
    tokio::select! {
        () = server.shutdown(GRACE) => Ok(()),
        _ = terminate.recv() => Err(anyhow::anyhow!("asked to end twice; ended at once")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("asked to end twice; ended at once")),
    }
}
