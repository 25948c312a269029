//! Who may use a service: `users`, `usersSecret` and `usersPassEncrypted`.
//!
//! No error repeats a value: what is taken for a name may be a part of a password.

use secrecy::ExposeSecret as _;

use crate::{
    field::Fields,
    name::ServiceName,
    users::{Credentials, PasswordForm, SecretUsers, USERS_GRAMMAR, UserList, UserRules},
};

pub(super) const SECRET_GRAMMAR: &str = "a plain name of letters, digits, '.', '_' and '-': that of the file dfp_users_<name> in SECRETS_PATH";

/// The users of a service; none where none are asked for.
pub(super) fn users(
    fields: &mut Fields<'_>,
    rules: &UserRules,
    service: Option<&ServiceName>,
) -> UserList {
    let form = match fields.flag("usersPassEncrypted") {
        true => PasswordForm::Hashed,
        false => PasswordForm::Clear,
    };
    let own = own(fields, form);
    let secret = secret(fields, rules, form);
    let Some(asked) = own.as_ref().or(secret.as_ref()) else {
        return UserList::default();
    };
    let others: Vec<&Credentials> = secret.iter().chain([&rules.global]).collect();
    asked.resolve(service, &others).unwrap_or_else(|problem| {
        fields.refuse("users", None, problem.to_string(), USERS_GRAMMAR);
        UserList::default()
    })
}

/// Refuses users where nobody could ask for them, unless it is said that everybody may come in.
pub(super) fn refuse_connections(fields: &mut Fields<'_>, index: u16) {
    let ignored = fields.suffixed("ignoreAuthorization", index);
    if !fields.flag(&ignored) {
        let problem = "a connection (reqMode tcp or sni) carries no password, and everybody could come in; ignoreAuthorization=true says that this is meant".to_owned();
        fields.refuse("users", None, problem, USERS_GRAMMAR);
    }
}

fn own(fields: &mut Fields<'_>, form: PasswordForm) -> Option<Credentials> {
    // An empty list would open what somebody meant to lock.
    let text = fields.text("users").or(fields.empty("users"))?;
    let parsed = Credentials::parse(text, form);
    parsed
        .map_err(|problem| fields.refuse("users", None, problem.to_string(), USERS_GRAMMAR))
        .ok()
}

fn secret(fields: &mut Fields<'_>, rules: &UserRules, form: PasswordForm) -> Option<Credentials> {
    const NAME: &str = "usersSecret";
    let name = fields.text(NAME).or(fields.empty(NAME))?;
    let parsed = match &rules.secret {
        _ if !is_secret_name(name) => Err("it is no plain name".to_owned()),
        SecretUsers::NotRead => Err("secrets are not read here".to_owned()),
        SecretUsers::Unreadable(why) => Err(why.clone()),
        SecretUsers::Text(text) => Credentials::parse(text.expose_secret(), form)
            .map_err(|problem| format!("in the secret file: {problem}")),
    };
    parsed
        .map_err(|problem| fields.refuse(NAME, None, problem, SECRET_GRAMMAR))
        .ok()
}

/// Whether a name may be a part of a secret file's name: it can lead out of no folder.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=100).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use crate::{
        Credentials, FieldErrors, Params, PasswordForm, ReconfigureRules, SecretUsers, Service,
        UserRules, parse_reconfigure_with,
    };
    use std::sync::Arc;

    fn ask(query: &str, secret: Option<&str>) -> Result<Arc<Service>, FieldErrors> {
        let global = Credentials::parse("ann:global", PasswordForm::Clear).unwrap();
        let mut users = UserRules::default().with_global(global);
        if let Some(text) = secret {
            users = users.with_secret(SecretUsers::Text(text.to_owned().into()));
        }
        let rules = ReconfigureRules::default().with_users(users);
        let query = format!("serviceName=a&servicePath=/a&port=80&{query}");
        let params = Params::from_query(query).unwrap();
        Ok(parse_reconfigure_with(&params, &rules)?.value.service)
    }

    fn names(service: &Service) -> Vec<&str> {
        let users = service.options().users.iter();
        users.map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn passwords_come_from_the_call_the_secret_and_the_settings_in_this_order() {
        let own = ask("users=ann:own", None).unwrap();
        assert_eq!(names(&own), ["ann"]);
        assert!(names(&ask("", None).unwrap()).is_empty());
        let secret = Some("ann:secret\nbob:secret\n");
        let of_secret = ask("usersSecret=x", secret).unwrap();
        assert_eq!(names(&of_secret), ["ann", "bob"]);
        let users = |query: &str, secret| ask(query, secret).unwrap().options().users.clone();
        assert_eq!(
            users("users=ann&usersSecret=x", secret),
            users("users=ann:secret", None)
        );
        assert_eq!(users("users=ann", None), users("users=ann:global", None));
    }

    #[test]
    fn no_refusal_repeats_a_password_and_none_opens_a_service() {
        for (query, secret) in [
            ("users=", None),
            ("usersSecret=", None),
            ("users=bob", None),
            ("users=bob:geheim&reqMode=tcp&srcPort=81", None),
            ("users=ann:geheim,geh heim", None),
            ("users=bob:geheim&usersPassEncrypted=true", None),
            ("usersSecret=x", None),
            ("usersSecret=x", Some("")),
            ("usersSecret=x", Some("bob")),
            ("usersSecret=../x", Some("bob:geheim")),
            ("users=ann&usersSecret=x", Some("geh heim")),
        ] {
            let refused = ask(query, secret).unwrap_err();
            let words = refused.to_string();
            assert!(!words.contains("geh"), "{query}: {words}");
            assert!(words.starts_with("users"), "{query}: {words}");
        }
    }
}
