//! From a command to its output and verdict.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::CommandFactory;
use reqwest::Method;
use serde_json::{Value, json};

use crate::args::{Cert, Cli, Command, Global, Waiting};
use crate::client::{Client, NoReply, Question, Reply};
use crate::show;
use crate::verdict::{Intent, Verdict};

/// The longest file that is imported; what is longer is none of ours.
const MAX_IMPORT_BYTES: u64 = 256 * 1024 * 1024;

/// What the proxy's answer takes beyond its waits: the check, the store, the way.
const WAY_BACK: Duration = Duration::from_secs(5);

/// How often a change may wait for so long: to be judged, and then for the other replicas.
const WAITS: u32 = 2;

/// How an answer is shown to a human reader.
#[derive(Debug, Clone, Copy)]
enum View {
    /// What happened, and who has it.
    Change,
    /// The message alone.
    Message,
    /// Every field, and the replicas as a table.
    Status,
    /// Who gets a request, and who does not.
    Explanation,
    /// As it came: it is a document.
    Document,
}

/// What a command asks, and how the answer is shown.
struct Plan {
    question: Question,
    view: View,
}

/// How long an answer is waited for: the proxy says who did not confirm, and is heard out.
fn deadline(cli: &Cli) -> Duration {
    let timeout = cli.global.timeout;
    match cli.command.waiting().and_then(Waiting::each) {
        Some(each) => timeout.max(each * WAITS + WAY_BACK),
        None => timeout,
    }
}

/// Runs one command.
pub(crate) async fn run(cli: Cli) -> Result<Verdict> {
    if let Command::Completions { shell } = cli.command {
        let mut command = Cli::command();
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "proxyctl", &mut script);
        print_bytes(&script)?;
        return Ok(Verdict::Done);
    }
    if let Command::Manual { folder } = &cli.command {
        clap_mangen::generate_to(Cli::command(), folder)?;
        return Ok(Verdict::Done);
    }
    let deadline = deadline(&cli);
    let client = Client::new(
        cli.global.address.clone(),
        deadline,
        cli.global.token.clone(),
    )
    .context("the HTTP client cannot be set up")?;
    let separator = match separator(&client, &cli).await? {
        Ok(separator) => separator,
        Err(verdict) => return Ok(verdict),
    };
    let plan = match plan(&cli.global, &cli.command, &separator) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Verdict::Usage);
        }
    };
    let (intent, view) = (plan.question.intent, plan.view);
    let reply = match client.ask(plan.question).await {
        Ok(reply) => reply,
        Err(error) => return silence(&cli.global, &error, intent),
    };
    let answer: Option<Value> = serde_json::from_str(&reply.body).ok();
    let verdict = Verdict::of_reply(&reply, answer.as_ref(), intent);
    if let Command::Export { output: Some(file) } = &cli.command
        && verdict == Verdict::Done
    {
        write_file(file, &reply.body)?;
        complain(&format!("written to {}", file.display()));
        return Ok(verdict);
    }
    show_reply(&cli.global, view, &reply, answer.as_ref(), verdict)?;
    let tried = answer.as_ref().and_then(|answer| answer.get("DryRun"));
    if cli.command.is_dry_run() && tried.is_none() && verdict == Verdict::Done {
        complain("this proxy is too old to know dryRun: it made the change");
        return Ok(Verdict::Refused);
    }
    Ok(verdict)
}

/// Says that nothing came back.
fn silence(global: &Global, error: &NoReply, intent: Intent) -> Result<Verdict> {
    let verdict = Verdict::of_silence(error, intent);
    let hint = match verdict {
        Verdict::Unknown => "; the change may or may not be made: see `proxyctl status`",
        _ => "",
    };
    let text = format!("{error}{hint}");
    if global.json {
        print(&pretty(&json!({ "Status": "NOK", "Message": text })))?;
    } else {
        complain(&text);
    }
    Ok(verdict)
}

/// What the server parts lists by (`SEPARATOR`). It is asked where a list is given item by item, and else does not
/// matter; one that does not say it is asked for a comma.
async fn separator(client: &Client, cli: &Cli) -> Result<Result<String, Verdict>> {
    let comma = || Ok(Ok(",".to_owned()));
    match &cli.command {
        Command::Reconfigure(service) if service.has_items() => {}
        _ => return comma(),
    }
    let question = Question {
        method: Method::GET,
        intent: Intent::Read,
        url: cli.global.address.endpoint("status", &[]),
        body: None,
    };
    let reply = match client.ask(question).await {
        Ok(reply) => reply,
        Err(error) => return silence(&cli.global, &error, Intent::Read).map(Err),
    };
    let answer: Option<Value> = serde_json::from_str(&reply.body).ok();
    let verdict = Verdict::of_reply(&reply, answer.as_ref(), Intent::Read);
    if verdict != Verdict::Done {
        show_reply(&cli.global, View::Status, &reply, answer.as_ref(), verdict)?;
        return Ok(Err(verdict));
    }
    let said = answer.as_ref().and_then(|answer| answer.get("Separator"));
    match said.and_then(Value::as_str) {
        Some(separator) => Ok(Ok(separator.to_owned())),
        None => comma(),
    }
}

fn plan(global: &Global, command: &Command, separator: &str) -> Result<Plan> {
    let ask = |method: Method, name: &str, params: &[(String, String)]| Question {
        intent: match method {
            Method::GET => Intent::Read,
            _ => Intent::Change,
        },
        method,
        url: global.address.endpoint(name, params),
        body: None,
    };
    let read = |name: &str, params: &[(String, String)], view| Plan {
        question: ask(Method::GET, name, params),
        view,
    };
    let change = |question| Plan {
        question,
        view: View::Change,
    };
    Ok(match command {
        Command::Reconfigure(service) => {
            let mut question = ask(Method::PUT, "reconfigure", &service.params(separator)?);
            if let Some(form) = service.form()? {
                question.body = Some(("application/x-www-form-urlencoded", form.into_bytes()));
            }
            change(question)
        }
        Command::Remove(remove) => {
            let mut params = vec![pair("serviceName", &remove.service_name)];
            params.extend(remove.wait.params());
            change(ask(Method::DELETE, "remove", &params))
        }
        Command::Cert(Cert::Put { name, file, wait }) => {
            let mut params = vec![pair("certName", name)];
            params.extend(wait.params());
            let mut question = ask(Method::PUT, "cert", &params);
            question.body = Some(("application/x-pem-file", read_file(file)?));
            change(question)
        }
        Command::Cert(Cert::Delete { name, wait }) => {
            let mut params = vec![pair("certName", name)];
            params.extend(wait.params());
            change(ask(Method::DELETE, "cert", &params))
        }
        Command::Cert(Cert::List) => read("certs", &[], View::Status),
        Command::Config if global.json => read("config", &[pair("type", "json")], View::Document),
        Command::Config => read("config", &[], View::Document),
        Command::Explain(asked) => {
            let mut params = vec![pair("url", &asked.url)];
            params.extend(asked.host.as_ref().map(|host| pair("host", host)));
            params.extend(asked.headers.iter().map(|header| pair("header", header)));
            read("explain", &params, View::Explanation)
        }
        Command::Ping => read("ping", &[], View::Message),
        Command::Health => probe(global, "healthz"),
        Command::Ready => probe(global, "readyz"),
        Command::Status { id, peers } => {
            let id = id.as_ref().map(|id| pair("id", id));
            let peers = peers.then(|| pair("peers", "true"));
            let params: Vec<_> = id.into_iter().chain(peers).collect();
            read("status", &params, View::Status)
        }
        Command::Export { .. } => read("export", &[], View::Document),
        Command::Import { file, wait } => {
            let mut question = ask(Method::PUT, "import", &wait.params());
            question.body = Some(("application/json", read_file(file)?));
            change(question)
        }
        Command::History {
            service,
            limit,
            before,
            full,
        } => {
            let given = [
                ("service", service.clone()),
                ("limit", limit.map(|limit| limit.to_string())),
                ("before", before.map(|before| before.to_string())),
                ("full", full.then(|| "true".to_owned())),
            ];
            let given = given.into_iter();
            let params: Vec<_> = given
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect();
            as_written(global, ask, "history", params)
        }
        Command::Diff { from, to } => {
            let mut params = vec![pair("from", &from.to_string())];
            params.extend(to.map(|to| pair("to", &to.to_string())));
            as_written(global, ask, "diff", params)
        }
        Command::Rollback { revision, wait } => {
            let mut params = vec![pair("revision", &revision.to_string())];
            params.extend(wait.params());
            change(ask(Method::POST, "rollback", &params))
        }
        Command::Accept {
            services,
            all,
            wait,
        } => {
            let mut params = Vec::new();
            if !services.is_empty() {
                params.push(pair("serviceName", &services.join(",")));
            }
            params.extend(all.then(|| pair("all", "true")));
            params.extend(wait.params());
            change(ask(Method::POST, "accept", &params))
        }
        Command::Reload { dry_run } => {
            let dry_run = dry_run.then(|| pair("dryRun", "true"));
            change(ask(Method::POST, "reload", dry_run.as_slice()))
        }
        Command::Completions { .. } | Command::Manual { .. } => {
            anyhow::bail!("completions and pages ask nobody")
        }
    })
}

/// A question that the proxy answers as text for people, and as JSON.
fn as_written(
    global: &Global,
    ask: impl Fn(Method, &str, &[(String, String)]) -> Question,
    name: &str,
    mut params: Vec<(String, String)>,
) -> Plan {
    if !global.json {
        params.push(pair("type", "text"));
    }
    Plan {
        question: ask(Method::GET, name, &params),
        view: View::Document,
    }
}

/// A health check, which lies beside the API and has no exit codes but 0 and 1.
fn probe(global: &Global, name: &str) -> Plan {
    Plan {
        question: Question {
            method: Method::GET,
            intent: Intent::Probe,
            url: global.address.root(name),
            body: None,
        },
        view: View::Message,
    }
}

fn show_reply(
    global: &Global,
    view: View,
    reply: &Reply,
    answer: Option<&Value>,
    verdict: Verdict,
) -> Result<()> {
    let done = matches!(verdict, Verdict::Done | Verdict::Drifted);
    if let (View::Document, true) = (view, done) {
        let end = if reply.body.ends_with('\n') { "" } else { "\n" };
        return print(&format!("{}{end}", reply.body));
    }
    let Some(answer) = answer else {
        let code = reply.status.as_u16();
        let text = show::raw(&reply.body);
        if global.json {
            let message = format!("HTTP {code}: {text}");
            return print(&pretty(
                &json!({ "Status": if done { "OK" } else { "NOK" }, "Message": message }),
            ));
        }
        if done {
            return print(&format!("{text}\n"));
        }
        complain(&format!("the proxy answered HTTP {code}: {text}"));
        return Ok(());
    };
    if global.json {
        return print(&pretty(answer));
    }
    let text = match (view, done) {
        (View::Status, true) => show::status(answer),
        (View::Explanation, true) => show::explanation(answer),
        (View::Message, true) => format!("{}\n", show::message(answer, "OK")),
        _ => show::change(answer, done),
    };
    if done {
        return print(&text);
    }
    complain(text.trim_end());
    if [401, 403].contains(&reply.status.as_u16()) {
        complain("give the API token in PROXY_TOKEN or --token");
    }
    Ok(())
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

pub(crate) fn read_file(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(opened.with_context(|| format!("cannot read {}", file.display()))?)
    };
    let limit = MAX_IMPORT_BYTES.saturating_add(1);
    Read::take(&mut reader, limit)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", file.display()))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_IMPORT_BYTES {
        anyhow::bail!("{} is longer than {MAX_IMPORT_BYTES} bytes", file.display());
    }
    Ok(bytes)
}

/// A file that is there is replaced whole or not at all.
fn write_file(file: &Path, text: &str) -> Result<()> {
    let parent = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let failed = || format!("cannot write {}", file.display());
    let mut staged = tempfile::NamedTempFile::new_in(parent).with_context(failed)?;
    staged.write_all(text.as_bytes()).with_context(failed)?;
    staged.as_file().sync_all().with_context(failed)?;
    staged.persist(file).with_context(failed)?;
    Ok(())
}

/// Results go to standard output. A reader that closed it (`| head`) has what it wanted.
fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// What went wrong goes to standard error.
fn complain(text: &str) {
    eprintln!("proxyctl: {text}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_change_is_given_both_its_waits_and_the_way_back() {
        for (arguments, seconds) in [
            // Both waits of a proxy that has the default of 10 s.
            (&["remove", "a"][..], 25),
            (&["remove", "a", "--wait-timeout=1"], 25),
            (&["remove", "a", "--wait-timeout=30"], 65),
            (&["--timeout=1s", "remove", "a", "--wait-timeout=30"], 65),
            (&["--timeout=90s", "remove", "a", "--wait-timeout=30"], 90),
            (&["--timeout=1s", "remove", "a"], 1),
            (&["--timeout=1s", "status"], 1),
        ] {
            let cli = Cli::try_parse_from([&["proxyctl"], arguments].concat()).unwrap();
            assert_eq!(deadline(&cli).as_secs(), seconds, "{arguments:?}");
        }
    }
}
