//! What the settings say of the ends of the way: where services come from, and how a replica ends.

use std::time::Duration;

use super::{Reader, items};
use crate::settings::{
    EndSettings, OnEnd, SourceSettings,
    elsewhere::{self, DockerSettings, ListenerSettings, Repeat},
};

impl Reader<'_> {
    pub(super) fn sources(&mut self, instance: &str) -> Option<SourceSettings> {
        let only = self.switch("FILTER_PROXY_INSTANCE_NAME");
        let urls = self.parse("LISTENER_ADDRESS", |text| -> Result<_, String> {
            items(elsewhere::without_user(text)?, elsewhere::listener_url)
        });
        let repeat = self.switch("REPEAT_RELOAD");
        let interval = self.parse("RELOAD_INTERVAL", |text| match text.parse::<u32>() {
            Ok(millis) if millis >= 100 => Ok(Duration::from_millis(millis.into())),
            _ => Err("it is not a whole number of milliseconds, at least 100"),
        });
        let listens = self.switch("LISTEN_DOCKER");
        let looks = self.seconds("LISTEN_DOCKER_INTERVAL");
        let host = self.parse("DOCKER_HOST", elsewhere::docker_host);
        if listens == Some(true) && cfg!(not(feature = "docker")) {
            return self.refuse(
                "LISTEN_DOCKER",
                "this program was built without Docker's API",
            );
        }
        let (only, repeat, interval) = (only?, repeat?, interval?);
        let docker = DockerSettings {
            host: host?,
            interval: looks?,
        };
        Some(SourceSettings {
            given: elsewhere::given(self.source.beginning_with(elsewhere::PREFIX)),
            listener: urls.map(|urls| ListenerSettings {
                urls,
                interval,
                repeat: if repeat {
                    Repeat::Always
                } else {
                    Repeat::WhenAsked
                },
            }),
            docker: listens?.then_some(docker),
            only_instance: only.then(|| instance.to_owned()),
        })
    }

    pub(super) fn end(&mut self) -> Option<EndSettings> {
        let drain_delay = self.seconds_or_none("DRAIN_DELAY");
        let timeout = self.seconds("SHUTDOWN_TIMEOUT");
        let haproxy = self.parse("ON_END", |text| match text {
            "stop" => Ok(OnEnd::Stop),
            "leave" => Ok(OnEnd::Leave),
            _ => Err("it is neither stop nor leave"),
        });
        let (drain_delay, timeout) = (drain_delay?, timeout?);
        if drain_delay >= timeout {
            let problem = format!(
                "it is not less than SHUTDOWN_TIMEOUT ({} s), which leaves open connections no time to finish",
                timeout.as_secs()
            );
            return self.refuse("DRAIN_DELAY", &problem);
        }
        Some(EndSettings {
            drain_delay,
            timeout,
            haproxy: haproxy?,
        })
    }

    /// How a HAProxy ends that was left: each time by itself, so that what else is wrong makes neither another.
    pub(super) fn end_of_left(&mut self) -> EndSettings {
        let default = EndSettings::default();
        let drain_delay = self.seconds_or_none("DRAIN_DELAY");
        let timeout = self.seconds("SHUTDOWN_TIMEOUT");
        EndSettings {
            drain_delay: drain_delay.unwrap_or(default.drain_delay),
            timeout: timeout.unwrap_or(default.timeout),
            ..default
        }
    }
}
