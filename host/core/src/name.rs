//! Names that cross module borders, each a type of its own so that one cannot be passed for another.
//!
//! A name is short printable ASCII without spaces: it ends up in paths, logs, SQL parameters and error texts, and must
//! not be able to carry anything else there.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest name that is accepted, in bytes. Entra's longest composed principal is under 120.
pub const MAX_NAME_BYTES: usize = 200;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {MAX_NAME_BYTES} printable ASCII characters without spaces")]
pub struct NameError {
    what: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a text.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                let fits = (1..=MAX_NAME_BYTES).contains(&text.len());
                if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    Ok($name(text))
                } else {
                    Err(NameError { what: $what })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                $name::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                $name::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name!(
    /// The protected system, by its name in the configuration.
    TargetName, "a target's name"
);
name!(
    /// An identity provider, by its name in the configuration.
    ProviderName, "a provider's name"
);
name!(
    /// The stable name of an identity in grants and audit: `provider/tenant/object-id`.
    Principal, "a principal"
);
name!(
    /// An alias of a group, defined under `groups` in the configuration.
    GroupAlias, "a group's alias"
);
name!(
    /// A channel by which people are told of approvals, by its name in the configuration.
    ChannelName, "a channel's name"
);

impl Principal {
    /// Composes the stable name. None of the parts may contain a slash, or two identities could share one name.
    pub fn of(provider: &ProviderName, tenant: &str, object_id: &str) -> Result<Self, NameError> {
        let parts = [provider.as_str(), tenant, object_id];
        if parts.iter().any(|part| part.is_empty() || part.contains('/')) {
            return Err(NameError { what: "each part of a principal" });
        }
        Principal::new(parts.join("/"))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Wraps a UUID; version 7 keeps ids in the order of their making.
            pub const fn new(uuid: uuid::Uuid) -> Self {
                $name(uuid)
            }

            /// The UUID inside.
            pub const fn uuid(self) -> uuid::Uuid {
                self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { prefix: $prefix };
                let hex = text.strip_prefix($prefix).ok_or_else(|| error.clone())?;
                // Exactly the form that Display writes, so that one id has one spelling.
                if hex.len() != 32 || hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(error);
                }
                uuid::Uuid::try_parse(hex).map($name).map_err(|_| error)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is `{prefix}` followed by 32 lower-case hexadecimal digits")]
pub struct IdError {
    prefix: &'static str,
}

id!(
    /// A session and its recording.
    SessionId, "ses_"
);
id!(
    /// An access request.
    RequestId, "req_"
);
id!(
    /// A window.
    WindowId, "win_"
);
id!(
    /// A held operation.
    HoldId, "hold_"
);
id!(
    /// An entry of the deny list.
    DenialId, "deny_"
);
id!(
    /// One message to one channel.
    DeliveryId, "dlv_"
);
id!(
    /// An entry that keeps recordings from being deleted.
    PreservationId, "keep_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_carries_nothing_but_printable_ascii() {
        for bad in ["", "a b", "a\nb", "é", "a\0", "\u{1b}[31m"] {
            assert!(TargetName::new(bad).is_err(), "{bad:?}");
        }
        assert!(TargetName::new("x".repeat(MAX_NAME_BYTES + 1)).is_err());
        assert_eq!(TargetName::new("prod-logs").unwrap().as_str(), "prod-logs");
    }

    #[test]
    fn two_identities_never_share_a_principal() {
        let provider = ProviderName::new("corp").unwrap();
        assert!(Principal::of(&provider, "t/x", "y").is_err());
        assert!(Principal::of(&provider, "t", "").is_err());
        assert_eq!(Principal::of(&provider, "t", "o").unwrap().as_str(), "corp/t/o");
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = SessionId::new(uuid::Uuid::from_u128(0xabc));
        let text = id.to_string();
        assert_eq!(text.parse::<SessionId>(), Ok(id));
        assert!(text.to_uppercase().parse::<SessionId>().is_err());
        assert!(text.replace("ses_", "win_").parse::<SessionId>().is_err());
        assert!(format!("{text}0").parse::<SessionId>().is_err());
    }
}
