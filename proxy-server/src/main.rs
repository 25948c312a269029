//! The binary: settings, logs, a replica, signals.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use proxy_server::{
    EXIT_USAGE, Layered, LeftSettings, OnEnd, ProcessEnv, SecretFiles, Server, Settings,
    SettingsSource, flags, left, logging, systemd,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// How long the end waits for what is still read and written then: it takes as long as a disk that works.
const FILES_DEADLINE: Duration = Duration::from_secs(1);
/// How long the end waits for a start that is under way: one that waits for a disk may never be done.
const START_DEADLINE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let matches = match flags::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no errors; where nobody reads them is no reason to fail either.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    if let Some(folder) = matches.get_one::<PathBuf>(flags::MANUAL) {
        return match flags::manual(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("proxy-server: {}: {error}", folder.display()));
                ExitCode::FAILURE
            }
        };
    }
    let given = flags::source(&matches);
    let folder = Layered::new(vec![Box::new(given.clone()), Box::new(ProcessEnv::new())])
        .get("SECRETS_PATH")
        .unwrap_or_default();
    let secrets = SecretFiles::new(folder.unwrap_or_else(|| "/run/secrets".to_owned()).into());
    let source = Layered::new(vec![
        Box::new(given),
        Box::new(secrets),
        Box::new(ProcessEnv::new()),
    ]);
    if matches.get_flag(flags::END_HAPROXY) {
        return ended(in_runtime(end_haproxy(LeftSettings::read(&source))));
    }
    let settings = match Settings::read(&source) {
        Ok(settings) => settings,
        Err(errors) => {
            say(&format!("proxy-server: {errors}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Err(error) = logging::start(&settings.log) {
        say(&format!(
            "proxy-server: LOG={:?}: {error}",
            settings.log.filter
        ));
        return ExitCode::from(EXIT_USAGE);
    }
    ended(in_runtime(serve(settings)))
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    // What reads a disk that hangs never ends.
    runtime.shutdown_timeout(FILES_DEADLINE);
    done
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("proxy-server: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Ends the HAProxy that a server left serving.
async fn end_haproxy(settings: LeftSettings) -> anyhow::Result<()> {
    let run_path = settings.run_path.display().to_string();
    let how = match left::end_haproxy(settings).await? {
        Some(stopped) => format!("ended: {stopped:?}"),
        None => "none serves".to_owned(),
    };
    say(&format!("proxy-server: HAProxy in {run_path}: {how}"));
    Ok(())
}

/// Serves until a signal asks for the end. A second signal ends at once.
async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let end = settings.end;
    // A disk that hangs holds up the thread that reads it, and nobody else.
    let mut starting = tokio::task::spawn_blocking(move || {
        tokio::runtime::Handle::current().block_on(Server::start(settings))
    });
    let (started, is_asked) = tokio::select! {
        started = &mut starting => (started, false),
        () = asked(&mut terminate, &mut interrupt) => {
            let started = timeout(START_DEADLINE, starting).await;
            let started = started.map_err(|_| {
                anyhow::anyhow!("asked to end while the start waits for a disk; ended at once")
            })?;
            (started, true)
        }
    };
    let mut server = started??;
    let health = server.health();
    tokio::select! {
        biased;
        () = std::future::ready(()), if is_asked => {}
        () = asked(&mut terminate, &mut interrupt) => {}
        () = systemd::follow(health) => {}
        part = server.broken() => {
            // HAProxy is left serving for the next start to take over.
            return Err(anyhow::anyhow!("{part}"));
        }
    }
    let twice = || anyhow::anyhow!("asked to end twice; ended at once");
    if end.haproxy == OnEnd::Leave {
        tracing::info!("asked to end: HAProxy is left serving");
        let left = async { tokio::join!(server.leave(end.timeout), systemd::stopping()) };
        return tokio::select! {
            _ = left => Ok(()),
            () = asked(&mut terminate, &mut interrupt) => Err(twice()),
        };
    }
    let (delay, left) = (end.drain_delay, end.timeout.saturating_sub(end.drain_delay));
    tracing::info!(
        ?delay,
        ?left,
        "asked to end: not ready any more, then no new connections, then finishing what is open"
    );
    let drained = async { tokio::join!(server.drain(delay), systemd::stopping()) };
    tokio::select! {
        _ = drained => {}
        () = asked(&mut terminate, &mut interrupt) => {
            // HAProxy was not told yet; nobody is left to do it later.
            server.shutdown(Duration::ZERO).await;
            return Err(twice());
        }
    }
    tokio::select! {
        () = server.shutdown(left) => Ok(()),
        () = asked(&mut terminate, &mut interrupt) => Err(twice()),
    }
}

async fn asked(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// A line on the standard error, wherever that leads: one that nobody reads is no reason to panic.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
