//! How JSON becomes Rust types here: the `object!` macro that declares a JSON object, and the
//! second, slow look at a document that did not parse, which finds every wrong value with its
//! path. Used by `spec.rs` for the types and by `bundle::parse` for the errors.

use super::problems::{Problems, Warnings};
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

/// Reads a document as a `T` and, when it does not fit, says everything that is wrong with it:
/// every wrong type and number out of range, every NUL byte in a string and every member given
/// twice with its JSON path, or where the syntax breaks with line and column.
pub fn parse<T: Check>(text: &[u8]) -> Result<T, Problems> {
    match serde_json::from_slice(text) {
        Ok(parsed) if !may_contain_nul(text) => Ok(parsed),
        parsed => match (parsed, look_closely::<T>(text)) {
            (_, Ok(problems)) if !problems.is_empty() => Err(problems),
            (Ok(parsed), Ok(_)) => Ok(parsed),
            (Err(error), _) | (_, Err(error)) => Err(one(&error)),
        },
    }
}

/// What the decoder says, with line and column.
fn one(error: &serde_json::Error) -> Problems {
    let mut problems = Problems::default();
    let prefix = if error.is_data() { "" } else { "not valid JSON: " };
    problems.add("", format!("{prefix}{error}"));
    problems
}

/// Whether a document has the only spelling of a NUL byte in JSON.
fn may_contain_nul(text: &[u8]) -> bool {
    // Most documents have no escape at all, which is quick to see.
    text.contains(&b'\\') && text.split(|byte| *byte == b'\\').skip(1).any(|rest| rest.starts_with(b"u0000"))
}

/// Everything wrong with a document that does not fit `T`.
fn look_closely<T: Check>(text: &[u8]) -> Result<Problems, serde_json::Error> {
    let mut problems = Problems::default();
    let value: Value = serde_json::from_slice(text)?;
    if value.is_null() {
        problems.add("", "invalid type: null, expected an object");
    }
    T::check(&value, "", &mut problems);
    let twice = Twice { path: "", problems: &mut problems };
    twice.deserialize(&mut serde_json::Deserializer::from_slice(text))?;
    Ok(problems)
}

/// Walks a document and notes each member name that an object has twice.
struct Twice<'a> {
    path: &'a str,
    problems: &'a mut Problems,
}

impl<'de> DeserializeSeed<'de> for Twice<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Twice<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for i in 0.. {
            let item = Twice { path: &format!("{}[{i}]", self.path), problems: self.problems };
            if items.next_element_seed(item)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            let path = join(self.path, &key);
            if !seen.insert(key) {
                self.problems.add(&path, "given twice in one object");
            }
            members.next_value_seed(Twice { path: &path, problems: self.problems })?;
        }
        Ok(())
    }
}

/// Reads a member that may be `null`: `null` is the default value.
pub fn null_is_default<'de, D: Deserializer<'de>, T: Check>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// How a type is read from JSON, and the slow look: whether a JSON value fits it.
pub trait Check: Default + DeserializeOwned {
    /// Notes in `problems` each place below `path` where `value` does not fit `Self`.
    fn check(value: &Value, path: &str, problems: &mut Problems);

    /// Notes in `warnings` each member below `path` that has no meaning.
    fn unknown(_value: &Value, _path: &str, _warnings: &mut Warnings) {}

    /// Reads a member of this type; `null` is the default.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Self>::deserialize(deserializer)?.unwrap_or_default())
    }
}

/// Notes an item of an array or object that is `null`: only members may be.
fn check_item<T: Check>(value: &Value, path: &str, problems: &mut Problems) {
    if value.is_null() {
        problems.add(path, "invalid type: null, expected a value");
    } else {
        T::check(value, path, problems);
    }
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
leaf!(bool, i32, i64, u16, u32, u64);

impl Check for String {
    fn check(value: &Value, path: &str, problems: &mut Problems) {
        match value {
            Value::Null => {}
            Value::String(text) if text.contains('\0') => problems.add(path, NUL),
            Value::String(_) => {}
            other => problems.add(path, format!("invalid type: {}, expected a string", kind(other))),
        }
    }
}

/// What is said about a string with a NUL byte: the kernel would take its beginning only.
pub const NUL: &str = "contains a NUL byte, which no system call can take";

impl<T: Check> Check for Option<T> {
    fn check(value: &Value, path: &str, problems: &mut Problems) {
        if !value.is_null() {
            T::check(value, path, problems);
        }
    }

    fn unknown(value: &Value, path: &str, warnings: &mut Warnings) {
        T::unknown(value, path, warnings);
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
                    check_item::<T>(item, &format!("{path}[{i}]"), problems);
                }
            }
            other => problems.add(path, format!("invalid type: {}, expected an array", kind(other))),
        }
    }

    fn unknown(value: &Value, path: &str, warnings: &mut Warnings) {
        for (i, item) in value.as_array().into_iter().flatten().enumerate() {
            T::unknown(item, &format!("{path}[{i}]"), warnings);
        }
    }
}

/// Notes a value that should have been an object.
pub fn refuse_other_than_object(value: &Value, path: &str, problems: &mut Problems) {
    problems.add(path, format!("invalid type: {}, expected an object", kind(value)));
}

impl<T: Check> Check for BTreeMap<String, T> {
    fn check(value: &Value, path: &str, problems: &mut Problems) {
        match value {
            Value::Null => {}
            Value::Object(members) => {
                for (key, item) in members {
                    let path = join(path, key);
                    if key.contains('\0') {
                        problems.add(&path, NUL);
                    }
                    check_item::<T>(item, &path, problems);
                }
            }
            other => refuse_other_than_object(other, path, problems),
        }
    }

    fn unknown(value: &Value, path: &str, warnings: &mut Warnings) {
        for (key, item) in value.as_object().into_iter().flatten() {
            T::unknown(item, &join(path, key), warnings);
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(UniqueKeys(PhantomData))
    }
}

/// Reads a map that must not have a key twice; `null` is the empty map.
struct UniqueKeys<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for UniqueKeys<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = members.next_entry::<String, T>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// Members that the specification has for other systems, and those that runtimes leave to engines: where
/// and which.
const FOREIGN: [(&str, &str); 7] = [
    ("", "freebsd"),
    ("", "solaris"),
    ("", "vm"),
    ("", "windows"),
    ("", "zos"),
    ("process", "commandLine"),
    ("process.user", "username"),
];

/// Notes a member that none of `known` is.
pub fn note_unknown(path: &str, key: &str, known: &[&'static str], warnings: &mut Warnings) {
    if !FOREIGN.contains(&(path, key)) {
        let text = "unknown member, which has no effect";
        warnings.note_unknown(join(path, key), text, [key], known.iter().copied());
    }
}

/// Notes every member of a document that has no meaning for a `T`.
pub fn unknown_members<T: Check>(text: &[u8], warnings: &mut Warnings) {
    if let Ok(value) = serde_json::from_slice::<Value>(text) {
        T::unknown(&value, "", warnings);
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

/// The visitor of declared objects: takes an object, where a derived one would also take an array.
pub struct ObjectOnly<T>(pub PhantomData<T>);

/// Declares JSON objects: public members, each absent or `null` as its default, unknown members
/// ignored (spec, Extensibility), with `Deserialize`, `Serialize` and `Check`. The name in the
/// document is the string after the type.
macro_rules! object {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty = $json:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(remote = "Self")]
        #[allow(missing_docs)]
        pub struct $name {
            $($(#[$fmeta])*
            #[serde(rename = $json, default, deserialize_with = "crate::bundle::json::null_is_default")]
            pub $field: $ty,)*
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map(crate::bundle::json::ObjectOnly::<Self>(std::marker::PhantomData))
            }
        }

        impl<'de> serde::de::Visitor<'de> for crate::bundle::json::ObjectOnly<$name> {
            type Value = $name;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, members: A) -> Result<$name, A::Error> {
                $name::deserialize(serde::de::value::MapAccessDeserializer::new(members))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $name::serialize(self, serializer)
            }
        }

        impl crate::bundle::json::Check for $name {
            fn check(value: &serde_json::Value, path: &str, problems: &mut crate::bundle::problems::Problems) {
                match value {
                    serde_json::Value::Null => {}
                    serde_json::Value::Object(members) => {
                        $(if let Some(item) = members.get($json) {
                            <$ty as crate::bundle::json::Check>::check(
                                item, &crate::bundle::json::join(path, $json), problems);
                        })*
                        let _ = members;
                    }
                    other => crate::bundle::json::refuse_other_than_object(other, path, problems),
                }
            }

            fn unknown(value: &serde_json::Value, path: &str, warnings: &mut crate::bundle::Warnings) {
                for (key, item) in value.as_object().into_iter().flatten() {
                    match key.as_str() {
                        $($json => <$ty as crate::bundle::json::Check>::unknown(
                            item, &crate::bundle::json::join(path, $json), warnings),)*
                        _ => crate::bundle::json::note_unknown(path, key, &[$($json),*], warnings),
                    }
                }
            }
        }
    )*};
}
pub(crate) use object;
