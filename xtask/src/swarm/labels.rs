//! A service that is created, changed, scaled and removed with labels, and no call: the proxy follows.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use super::held;
use super::images::Images;
use super::stage::Stage;
use super::story::greets;
use super::tasks::Task;
use crate::demo::HOST;
use crate::http::get;

/// How long the proxy may take to follow: Docker tells it at once, and a task is started before it answers.
const FOLLOW_DEADLINE: Duration = Duration::from_secs(60);

const ANSWER: Duration = Duration::from_secs(10);

const LOOK: Duration = Duration::from_millis(200);

/// Who answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The service itself.
    Service,
    /// HAProxy, which knows no such route.
    Nobody,
}

/// Labels come, change and go.
pub(super) async fn followed(stage: &Stage<'_>, images: &Images, replicas: &[Task]) -> Result<()> {
    let (service, docker) = (stage.labelled.as_str(), stage.docker);
    all(replicas, "/labelled", By::Nobody).await?;
    let start = Instant::now();
    stage.labelled(images, "/labelled").await?;
    all(replicas, "/labelled", By::Service).await?;
    let created = start.elapsed();

    let label = "com.df.servicePath=/relabelled";
    let update = [
        "service",
        "update",
        "--detach",
        "--label-add",
        label,
        service,
    ];
    docker.run(&update).await?;
    all(replicas, "/relabelled", By::Service).await?;
    all(replicas, "/labelled", By::Nobody).await?;

    for (count, by) in [("0", By::Nobody), ("1", By::Service)] {
        let scaled = format!("{service}={count}");
        docker
            .run(&["service", "scale", "--detach", &scaled])
            .await?;
        all(replicas, "/relabelled", by).await?;
    }
    docker.run(&["service", "rm", service]).await?;
    all(replicas, "/relabelled", By::Nobody).await?;
    for replica in replicas {
        // What a call brought is no label's to take away.
        greets(replica).await?;
    }
    held(&format!(
        "a service with labels is served by {} replicas {:.1} s after `docker service create`; another label, scaled to 0 \
         and to 1, removed: each followed, with no call",
        replicas.len(),
        created.as_secs_f64()
    ));
    Ok(())
}

async fn all(replicas: &[Task], path: &str, by: By) -> Result<()> {
    for replica in replicas {
        let start = Instant::now();
        loop {
            let answer = get(replica.http()?, "GET", path, ANSWER).await;
            let answered = answer.as_ref().is_ok_and(|answer| match by {
                By::Service => answer.header(HOST).is_some(),
                By::Nobody => answer.status == 404 && answer.header(HOST).is_none(),
            });
            if answered {
                break;
            }
            if start.elapsed() > FOLLOW_DEADLINE {
                bail!(
                    "{path} through {} is not answered by {by:?}: {answer:?}",
                    replica.name
                );
            }
            sleep(LOOK).await;
        }
    }
    Ok(())
}
