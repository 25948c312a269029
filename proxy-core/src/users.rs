//! Users: who may use a service, by name and password (HTTP basic authentication).
//!
//! Passwords are hashed as soon as they are read, and nothing here shows a password or a hash.

mod password;

use std::{collections::BTreeMap, fmt, str::FromStr};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

pub use password::{PasswordHash, PasswordHashError};

use crate::name::ServiceName;

/// The most users of one list: each is a line of HAProxy's configuration.
pub const MAX_USERS: usize = 200;
/// The longest name of a user, in bytes.
const MAX_USER_BYTES: usize = 64;
/// The longest password in bytes: what hashing costs grows with it.
const MAX_PASSWORD_BYTES: usize = 128;

/// What the name of a user may be.
pub(crate) const USERS_GRAMMAR: &str = "at most 200 users joined by commas or line breaks, each as name:password, or as name where usersSecret or USERS has the password; a name is printable ASCII without blanks, quotes, commas and colons";

/// The name of a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

/// Why a text is no [`UserName`]. It does not repeat the text, which may be part of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a user is 1 to {MAX_USER_BYTES} bytes of printable ASCII without blanks, quotes, commas and colons"
)]
pub struct UserNameError;

/// The users of a list, with their hashed passwords, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<User>", into = "Vec<User>")]
pub struct UserList(BTreeMap<UserName, PasswordHash>);

/// One user of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub name: UserName,
    /// The hashed password.
    pub password: PasswordHash,
}

/// Whether passwords are given as they are or hashed already, as crypt(3) has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordForm {
    /// As people type them.
    #[default]
    Clear,
    /// Hashed.
    Hashed,
}

/// Users as they were given: each with a password, or with none where somebody else knows it.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    given: BTreeMap<UserName, Option<SecretString>>,
    form: PasswordForm,
}

/// Why users are refused. It shows no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// A name is none.
    #[error("item {item}: {UserNameError}")]
    Name {
        /// Which item of the list, from 1.
        item: usize,
    },
    /// A user occurs twice.
    #[error("item {item}: the user occurs twice")]
    Twice {
        /// Which item of the list, from 1.
        item: usize,
    },
    /// A password is too long, or holds what no client can send.
    #[error(
        "item {item}: the password has more than {MAX_PASSWORD_BYTES} bytes or a control character"
    )]
    Password {
        /// Which item of the list, from 1.
        item: usize,
    },
    /// A hashed password is not hashed, or in no way that is allowed.
    #[error("item {item}: {problem}")]
    Hash {
        /// Which item of the list, from 1.
        item: usize,
        /// What is wrong.
        problem: PasswordHashError,
    },
    /// A user has no password, and nobody else has one for it.
    #[error(
        "item {item}: the user has no password, and neither usersSecret nor USERS has one for it"
    )]
    NoPassword {
        /// Which item of the list, from 1 in order of the names.
        item: usize,
    },
    /// There are too many.
    #[error("there are more than {MAX_USERS} users")]
    TooMany,
    /// There are none.
    #[error("there is no user in it")]
    None,
}

/// What is known of users besides a call's own parameters.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UserRules {
    /// The users of the settings, whose passwords a call may leave out.
    pub global: Credentials,
    /// What the secret file holds that a call names.
    pub secret: SecretUsers,
}

/// What a secret file holds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum SecretUsers {
    /// Nobody looked: none is named, or there are none here.
    #[default]
    NotRead,
    /// Its text.
    Text(SecretString),
    /// It cannot be read, and why.
    Unreadable(String),
}

// === impl UserRules ===

impl UserRules {
    /// With the users of the settings.
    #[must_use]
    pub fn with_global(self, global: Credentials) -> Self {
        Self { global, ..self }
    }

    /// With what the secret file holds that the call names.
    #[must_use]
    pub fn with_secret(self, secret: SecretUsers) -> Self {
        Self { secret, ..self }
    }
}

// === impl UserName ===

impl UserName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_graphic() && !b"\"'`,:\\".contains(&b);
        match (1..=MAX_USER_BYTES).contains(&text.len()) && text.bytes().all(fits) {
            true => Ok(Self(text.to_owned())),
            false => Err(UserNameError),
        }
    }
}

impl TryFrom<String> for UserName {
    type Error = UserNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl UserList ===

impl UserList {
    /// A list of one user, with a password as people type it.
    ///
    /// # Errors
    /// When the password is empty or too long, or holds a control character.
    pub fn of_one(name: UserName, password: &SecretString) -> Result<Self, UsersError> {
        let text = password.expose_secret();
        if text.is_empty() || text.len() > MAX_PASSWORD_BYTES || text.contains(char::is_control) {
            return Err(UsersError::Password { item: 1 });
        }
        let hash = PasswordHash::of(None, &name, text);
        Ok(Self([(name, hash)].into()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The users, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&UserName, &PasswordHash)> {
        self.0.iter()
    }
}

impl TryFrom<Vec<User>> for UserList {
    type Error = UsersError;

    fn try_from(users: Vec<User>) -> Result<Self, Self::Error> {
        if users.len() > MAX_USERS {
            return Err(UsersError::TooMany);
        }
        let mut list = BTreeMap::new();
        for (at, User { name, password }) in users.into_iter().enumerate() {
            if list.insert(name, password).is_some() {
                return Err(UsersError::Twice { item: at + 1 });
            }
        }
        Ok(Self(list))
    }
}

impl From<UserList> for Vec<User> {
    fn from(list: UserList) -> Self {
        let users = list.0.into_iter();
        users
            .map(|(name, password)| User { name, password })
            .collect()
    }
}

// === impl Credentials ===

impl Credentials {
    /// Reads `name:password` items parted by commas or line breaks; an item without a password is a user
    /// whose password somebody else knows.
    ///
    /// # Errors
    /// What is wrong with the first item that is; never with its text.
    pub fn parse(text: &str, form: PasswordForm) -> Result<Self, UsersError> {
        let items = text.split([',', '\n', '\r']).map(str::trim);
        let mut given = BTreeMap::new();
        for (at, text) in items.filter(|item| !item.is_empty()).enumerate() {
            let item = at + 1;
            if item > MAX_USERS {
                return Err(UsersError::TooMany);
            }
            let (name, password) = match text.split_once(':') {
                Some((name, password)) => (name, Some(password).filter(|it| !it.is_empty())),
                None => (text, None),
            };
            let name: UserName = name.parse().map_err(|_| UsersError::Name { item })?;
            let too_long =
                |it: &str| it.len() > MAX_PASSWORD_BYTES || it.contains(char::is_control);
            if form == PasswordForm::Clear && password.is_some_and(too_long) {
                return Err(UsersError::Password { item });
            }
            if let (PasswordForm::Hashed, Some(hash)) = (form, password) {
                let hash = hash.parse::<PasswordHash>();
                hash.map_err(|problem| UsersError::Hash { item, problem })?;
            }
            let password = password.map(|it| SecretString::from(it.to_owned()));
            if given.insert(name, password).is_some() {
                return Err(UsersError::Twice { item });
            }
        }
        match given.is_empty() {
            true => Err(UsersError::None),
            false => Ok(Self { given, form }),
        }
    }

    /// The list, each password hashed for this service. What has no password here has it from the first
    /// of `others` that knows the user.
    ///
    /// # Errors
    /// When nobody knows the password of one.
    pub fn resolve(
        &self,
        service: Option<&ServiceName>,
        others: &[&Self],
    ) -> Result<UserList, UsersError> {
        let mut list = BTreeMap::new();
        for (at, name) in self.given.keys().enumerate() {
            let mut known = std::iter::once(self).chain(others.iter().copied());
            let hash = known.find_map(|credentials| credentials.hash(service, name));
            let hash = hash.ok_or(UsersError::NoPassword { item: at + 1 })?;
            list.insert(name.clone(), hash);
        }
        Ok(UserList(list))
    }

    fn hash(&self, service: Option<&ServiceName>, name: &UserName) -> Option<PasswordHash> {
        let password = self.given.get(name)?.as_ref()?.expose_secret();
        match self.form {
            PasswordForm::Clear => Some(PasswordHash::of(service, name, password)),
            PasswordForm::Hashed => password.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(text: &str) -> Result<Credentials, UsersError> {
        Credentials::parse(text, PasswordForm::Clear)
    }

    #[test]
    fn users_are_read_and_hashed_and_never_shown() {
        let service: ServiceName = "a".parse().unwrap();
        let given = credentials("bob:geheim:1\n, ann:other,").unwrap();
        let list = given.resolve(Some(&service), &[]).unwrap();
        let names: Vec<_> = list.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ann", "bob"]);
        let again = given.resolve(Some(&service), &[]).unwrap();
        assert_eq!(again, list, "the same call gives the same bytes");
        let elsewhere = given.resolve(Some(&"b".parse().unwrap()), &[]).unwrap();
        assert_ne!(elsewhere, list, "one password looks different elsewhere");
        let shown = format!("{given:?} {list:?}");
        assert!(
            !shown.contains("geheim") && !shown.contains("$6$"),
            "{shown}"
        );
        let written = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::from_str::<UserList>(&written).unwrap(), list);
    }

    #[test]
    fn what_is_wrong_is_said_without_what_was_given() {
        let long = format!("a:{}", "x".repeat(MAX_PASSWORD_BYTES + 1));
        for (text, expected) in [
            ("", UsersError::None),
            (",\n", UsersError::None),
            (":x", UsersError::Name { item: 1 }),
            ("a:x,b c:y", UsersError::Name { item: 2 }),
            ("a:x,a:y", UsersError::Twice { item: 2 }),
            ("a:x\0", UsersError::Password { item: 1 }),
            (&long, UsersError::Password { item: 1 }),
        ] {
            let error = credentials(text).unwrap_err();
            assert_eq!(error, expected, "{text:?}");
            assert!(!error.to_string().contains('x') || !text.contains('x') || error == expected);
        }
        let many: Vec<String> = (0..=MAX_USERS).map(|i| format!("u{i}:p")).collect();
        assert_eq!(
            credentials(&many.join(",")).unwrap_err(),
            UsersError::TooMany
        );
    }

    #[test]
    fn a_password_that_is_missing_is_looked_up_in_order() {
        let given = credentials("ann,bob:own").unwrap();
        let (secret, global) = (
            credentials("ann:one").unwrap(),
            credentials("ann:two,bob:two").unwrap(),
        );
        let all = given.resolve(None, &[&secret, &global]).unwrap();
        assert_eq!(
            all,
            credentials("ann:one,bob:own")
                .unwrap()
                .resolve(None, &[])
                .unwrap()
        );
        assert_eq!(
            given.resolve(None, &[]).unwrap_err(),
            UsersError::NoPassword { item: 1 }
        );
    }
}
