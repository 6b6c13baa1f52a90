//! Tests: the same configs read by the crate `oci-spec` and by us have the same values in them.

use super::default_spec::Form;
use super::spec::Spec;
use serde_json::Value;

/// Configs that both can read.
fn configs() -> Vec<String> {
    vec![
        Form::shell(None, true).text(),
        Form::shell(Some((1000, 1000)), false).text(),
        include_str!("../../tests/data/docker-config.json").to_string(),
        include_str!("../../tests/data/full-config.json").to_string(),
    ]
}

#[test]
fn same_values_as_oci_spec() {
    for text in configs() {
        let ours: Spec = super::parse(text.as_bytes()).unwrap();
        let theirs: oci_spec::runtime::Spec = serde_json::from_str(&text).unwrap();
        let (ours, theirs) = (serde_json::to_value(ours).unwrap(), serde_json::to_value(theirs).unwrap());
        same("", &ours, &theirs);
    }
}

/// Whether every value of `theirs` is in `ours`, and everything in `ours` that is not a default.
fn same(path: &str, ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                same(&format!("{path}.{key}"), &of(a), &of(b));
            }
        }
        (Value::Array(a), Value::Array(b)) if is_set(path) => {
            let sorted = |list: &[Value]| {
                let mut list: Vec<String> = list.iter().map(Value::to_string).collect();
                list.sort_unstable();
                list
            };
            assert_eq!(sorted(a), sorted(b), "{path}");
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                same(&format!("{path}[{i}]"), a, b);
            }
        }
        (a, b) => assert!(a == b || is_default(a) && is_default(b), "{path}: ours {a}, theirs {b}"),
    }
}

/// Lists without an order, which the oracle keeps as sets.
fn is_set(path: &str) -> bool {
    path.starts_with(".process.capabilities.")
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_default),
        Value::Bool(true) => false,
    }
}

/// The file has every member of config.json that is for Linux, so that none is compared in vain.
#[test]
fn the_full_config_has_every_member() {
    let text = include_str!("../../tests/data/full-config.json");
    let ours: Spec = super::parse(text.as_bytes()).unwrap();
    fn empty(path: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(key, value)| empty(&format!("{path}.{key}"), value, found));
            }
            Value::Array(items) if !items.is_empty() => {
                items.iter().enumerate().for_each(|(i, v)| empty(&format!("{path}[{i}]"), v, found));
            }
            other if is_default(other) => found.push(path.to_string()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    empty("", &serde_json::to_value(&ours).unwrap(), &mut found);
    assert_eq!(found, Vec::<String>::new());
}
