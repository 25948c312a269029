//! What is allowed in the parameters of a service here, and whose passwords are known.

use std::{io::Read as _, path::Path, sync::Arc};

use proxy_core::{Params, ReconfigureRules, SecretUsers, TemplateSources, is_secret_name};

use super::templates;
use crate::files::FileReads;

/// The longest secret file of users in bytes: more than [`proxy_core::MAX_USERS`] users have.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The rules for the parameters of every call, whoever makes it.
#[derive(Clone, Debug)]
pub(crate) struct ParameterRules {
    rules: Arc<ReconfigureRules>,
    secrets: Arc<Path>,
    templates: Arc<Path>,
    reads: FileReads,
}

// === impl ParameterRules ===

impl ParameterRules {
    /// These rules, with the users that secret files of one folder hold, and the templates of another.
    pub(crate) fn new(rules: ReconfigureRules, secrets: &Path, templates: &Path) -> Self {
        Self {
            rules: Arc::new(rules),
            secrets: secrets.into(),
            templates: templates.into(),
            reads: FileReads::default(),
        }
    }

    /// What parts the items of lists.
    pub(crate) fn separator(&self) -> &str {
        self.rules.separator.as_str()
    }

    /// The rules for a call: with the files that it names, which are read anew each time.
    pub(crate) async fn for_call(&self, params: &Params) -> Arc<ReconfigureRules> {
        let rules = self.with_secret(params).await;
        let templates = templates::read(&self.reads, &self.templates, params).await;
        match templates == TemplateSources::default() {
            true => rules,
            false => Arc::new(Arc::unwrap_or_clone(rules).with_templates(templates)),
        }
    }

    async fn with_secret(&self, params: &Params) -> Arc<ReconfigureRules> {
        let Some(name) = params
            .get("usersSecret")
            .filter(|name| is_secret_name(name))
        else {
            return self.rules.clone();
        };
        let path = self.secrets.join(format!("dfp_users_{name}"));
        let file = path.display().to_string();
        let read = self.reads.read(move || read(&path)).await;
        let secret = read.unwrap_or_else(|why| unreadable(&file, &why));
        let users = self.rules.users.clone().with_secret(secret);
        Arc::new(ReconfigureRules::clone(&self.rules).with_users(users))
    }
}

fn unreadable(path: &str, why: &str) -> SecretUsers {
    SecretUsers::Unreadable(format!("the secret file {path} cannot be read: {why}"))
}

fn read(path: &Path) -> SecretUsers {
    let unreadable = |why: String| unreadable(&path.display().to_string(), &why);
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) => unreadable(error.to_string()),
        Ok(_) if text.len() as u64 > MAX_SECRET_BYTES => {
            unreadable(format!("it is longer than {MAX_SECRET_BYTES} bytes"))
        }
        Ok(_) => SecretUsers::Text(text.into()),
    }
}

#[cfg(test)]
impl Default for ParameterRules {
    fn default() -> Self {
        Self::new(
            ReconfigureRules::default(),
            Path::new(""),
            Path::new("/nowhere"),
        )
    }
}
