//! How JSON becomes Rust types here: the `object!` macro that declares a JSON object, and the
//! second, slow look at a document that did not parse, which finds every wrong value with its
//! path. Used by `spec.rs` for the types and by `bundle::parse` for the errors.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// One thing wrong with a document: the JSON path (`process.user.uid`, `mounts[3].options[0]`;
/// empty for the document itself) and what is wrong, with the remedy where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a JSON path.
    pub path: String,
    /// What is wrong and what is allowed.
    pub text: String,
}

/// All problems found in one document, in document order.
#[derive(Debug, Default, Clone)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Notes one problem.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { path: path.into(), text: text.into() });
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Problems {
    /// All problems on one line: `path: text; path: text`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, p) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            if p.path.is_empty() {
                write!(f, "{}", p.text)?;
            } else {
                write!(f, "{}: {}", p.path, p.text)?;
            }
        }
        Ok(())
    }
}

/// Reads a member that may be `null`: as Go's decoder does, `null` is the default value.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The slow look: whether a JSON value fits a type, noting every misfit with its path.
pub trait Check {
    /// Notes in `problems` each place below `path` where `value` does not fit `Self`.
    fn check(value: &Value, path: &str, problems: &mut Problems);
}

fn check_leaf<T: DeserializeOwned>(value: &Value, path: &str, problems: &mut Problems) {
    if !value.is_null()
        && let Err(error) = T::deserialize(value)
    {
        problems.add(path, error.to_string());
    }
}

macro_rules! leaf {
    ($($t:ty),*) => {$(
        impl Check for $t {
            fn check(value: &Value, path: &str, problems: &mut Problems) {
                check_leaf::<$t>(value, path, problems);
            }
        }
    )*};
}
leaf!(bool, i32, i64, u16, u32, u64, String);

impl<T: Check> Check for Option<T> {
    fn check(value: &Value, path: &str, problems: &mut Problems) {
        if !value.is_null() {
            T::check(value, path, problems);
        }
    }
}

impl<T: Check> Check for Box<T> {
    fn check(value: &Value, path: &str, problems: &mut Problems) {
        T::check(value, path, problems);
    }
}

impl<T: Check> Check for Vec<T> {
    fn check(value: &Value, path: &str, problems: &mut Problems) {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    T::check(item, &format!("{path}[{i}]"), problems);
                }
            }
            other => problems.add(path, format!("invalid type: {}, expected an array", kind(other))),
        }
    }
}

impl<T: Check> Check for BTreeMap<String, T> {
    fn check(value: &Value, path: &str, problems: &mut Problems) {
        match value {
            Value::Null => {}
            Value::Object(members) => {
                for (key, item) in members {
                    T::check(item, &join(path, key), problems);
                }
            }
            other => problems.add(path, format!("invalid type: {}, expected an object", kind(other))),
        }
    }
}

/// `path.key`, or `key` at the top.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

/// What a JSON value is, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Declares JSON objects: public members, each absent or `null` as its default, unknown members
/// ignored (spec, Extensibility), with `Deserialize`, `Serialize` and `Check`. The name in the
/// document is the string after the type.
macro_rules! object {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty = $json:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[allow(missing_docs)]
        pub struct $name {
            $($(#[$fmeta])*
            #[serde(rename = $json, default, deserialize_with = "crate::bundle::json::null_is_default")]
            pub $field: $ty,)*
        }

        impl crate::bundle::json::Check for $name {
            fn check(value: &serde_json::Value, path: &str, problems: &mut crate::bundle::json::Problems) {
                match value {
                    serde_json::Value::Null => {}
                    serde_json::Value::Object(members) => {
                        $(if let Some(item) = members.get($json) {
                            <$ty as crate::bundle::json::Check>::check(
                                item, &crate::bundle::json::join(path, $json), problems);
                        })*
                        let _ = members;
                    }
                    other => problems.add(path, format!(
                        "invalid type: {}, expected an object", crate::bundle::json::kind(other))),
                }
            }
        }
    )*};
}
pub(crate) use object;
