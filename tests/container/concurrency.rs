//! Many commands on few containers at the same time: 200 random operations by 16 callers on 8 ids. Whatever the
//! answers are, some order of the operations must give them all: each takes effect at one moment (`create`
//! and `delete` at two) between its call and its return. The order is searched for, id by id, in a model of a container.
//! OXRUN_CASES=N makes N rounds instead of 2; the seed of a round that fails is printed.

use crate::harness::{Sandbox, is_oxrun};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const CALLERS: usize = 16;
const IDS: usize = 8;
const OPERATIONS: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Start,
    Kill,
    Delete,
    DeleteForce,
    State,
}

/// What a container is, in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Model {
    Absent,
    Creating,
    Created,
    Running,
    /// Killed, and not seen to be gone yet; it was created or running.
    Dying(bool),
    Stopped,
}

/// A call and its answer; `state` answers with a status.
#[derive(Debug, Clone)]
struct Call {
    operation: Operation,
    begin: Duration,
    end: Duration,
    ok: bool,
    /// Of `state`; the error of what failed.
    status: String,
}

/// What the model may be after an operation with this answer; nothing if it cannot answer so.
fn after(model: Model, call: &Call) -> Vec<Model> {
    use Model::*;
    use Operation::*;
    let keeps_if = |fits: bool| if fits { vec![model] } else { vec![] };
    match (call.operation, call.ok) {
        (Create, true) => keeps_if(false),
        (Create, false) => keeps_if(model != Absent),
        (Start, true) => match model {
            Created => vec![Running],
            Dying(false) => vec![Dying(true)],
            _ => vec![],
        },
        // It may have told the process to go on, too late.
        (Start, false) if model == Dying(false) => vec![model, Dying(true)],
        (Start, false) => keeps_if(model != Created),
        (Kill, true) => match model {
            Created => vec![Dying(false)],
            Running => vec![Dying(true)],
            Dying(_) => vec![model],
            _ => vec![],
        },
        (Kill, false) => keeps_if(!matches!(model, Created | Running)),
        (Delete, true) => match model {
            Created | Stopped | Dying(false) => vec![Absent],
            _ => vec![],
        },
        (Delete, false) => keeps_if(!matches!(model, Created | Stopped)),
        // It waits for a create that is under way, or takes its place.
        (DeleteForce, true) => keeps_if(model == Absent).into_iter().chain([Absent]).take(1).collect(),
        (DeleteForce, false) => vec![],
        (State, true) => keeps_if(match call.status.as_str() {
            "creating" => model == Creating,
            "created" => matches!(model, Created | Dying(false)),
            "running" => matches!(model, Running | Dying(true)),
            "stopped" => matches!(model, Stopped | Creating),
            _ => false,
        }),
        (State, false) => keeps_if(matches!(model, Absent | Creating)),
    }
}

/// Whether some order of the calls on one id gives all their answers. `create` and `delete` may be two
/// moments: bit `2 * i` of `done` is the first, `2 * i + 1` that the call is complete.
fn has_an_order(calls: &[Call]) -> bool {
    assert!(calls.len() <= 64, "too many calls on one id for the search");
    let all = if calls.len() == 64 { u128::MAX } else { (1u128 << (2 * calls.len())) - 1 };
    let mut seen = HashSet::new();
    let mut open = VecDeque::from([(0u128, Model::Absent)]);
    while let Some((done, model)) = open.pop_back() {
        if !seen.insert((done, model)) {
            continue;
        }
        if done == all {
            return true;
        }
        if let Model::Dying(_) = model {
            open.push_back((done, Model::Stopped));
        }
        let complete = |i: usize| done >> (2 * i + 1) & 1 == 1;
        let earliest_end = calls.iter().enumerate().filter(|(i, _)| !complete(*i)).map(|(_, c)| c.end).min();
        for (i, call) in calls.iter().enumerate() {
            // Nothing comes after what had returned before it was called.
            if complete(i) || earliest_end.is_some_and(|end| call.begin > end) {
                continue;
            }
            let both = 3u128 << (2 * i);
            if call.operation == Operation::Create {
                let begun = done >> (2 * i) & 1 == 1;
                match (begun, call.ok) {
                    (false, _) if model == Model::Absent => {
                        open.push_back((done | 1 << (2 * i), Model::Creating));
                    }
                    (true, true) if model == Model::Creating => open.push_back((done | both, Model::Created)),
                    // Somebody's delete --force ended it.
                    (true, false) if model != Model::Creating => open.push_back((done | both, model)),
                    _ => {}
                }
                if begun || call.ok {
                    continue;
                }
            }
            if call.operation == Operation::Start && done >> (2 * i) & 1 == 1 {
                if !matches!(model, Model::Created | Model::Running) {
                    open.push_back((done | both, model));
                }
                continue;
            }
            // A delete first ends the process, which others may see.
            let killed = match (call.operation, model) {
                _ if done >> (2 * i) & 1 == 1 => None,
                // Its process was told to go on, and killed before it did.
                (Operation::Start, Model::Created) if !call.ok => Some(Model::Running),
                _ if !call.ok => None,
                (Operation::Delete | Operation::DeleteForce, Model::Created) => Some(Model::Dying(false)),
                (Operation::DeleteForce, Model::Running) => Some(Model::Dying(true)),
                _ => None,
            };
            open.extend(killed.map(|next| (done | 1 << (2 * i), next)));
            open.extend(after(model, call).into_iter().map(|next| (done | both, next)));
        }
    }
    false
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![4 => Just(Create), 3 => Just(Start), 2 => Just(Kill), 2 => Just(Delete), 1 => Just(DeleteForce),
        3 => Just(State)]
}

fn perform(t: &Sandbox, operation: Operation, id: &str) -> (bool, String) {
    let words: &[&str] = match operation {
        Operation::Create => &["create", id],
        Operation::Start => &["start", id],
        Operation::Kill => &["kill", id, "KILL"],
        Operation::Delete => &["delete", id],
        Operation::DeleteForce => &["delete", "--force", id],
        Operation::State => &["state", id],
    };
    let out = t.runtime(words);
    assert!(!out.stderr.contains("panicked") && (out.code == 0 || out.code == 1), "{words:?}: {out:?}");
    let answer = match operation {
        Operation::State if out.code == 0 => out.json()["status"].as_str().unwrap().to_string(),
        _ => out.stderr,
    };
    if out.code != 0 {
        let known = refusals(operation);
        assert!(
            known.iter().any(|text| answer.contains(text)),
            "{operation:?} fails for none of {known:?}: {answer}"
        );
    }
    (out.code == 0, answer)
}

/// Why an operation may fail: by the state of the container alone, never for what callers do to each other.
fn refusals(operation: Operation) -> &'static [&'static str] {
    const MISSING: &str = "does not exist";
    match operation {
        // Somebody's delete --force ended it meanwhile.
        Operation::Create => &["exists", "was killed", MISSING],
        Operation::Start => &["cannot start a", "was killed before its program", MISSING],
        Operation::Kill => &["container not running", MISSING],
        Operation::Delete => &["that is not stopped", MISSING],
        Operation::DeleteForce => &[],
        Operation::State => &[MISSING],
    }
}

fn round(t: &Sandbox, plan: &[(Operation, usize)]) -> Result<(), TestCaseError> {
    let ids: Vec<String> = (0..IDS).map(|i| t.other_id(&format!("m{i}"))).collect();
    let calls: Vec<Mutex<Vec<Call>>> = (0..IDS).map(|_| Mutex::new(Vec::new())).collect();
    let work = Mutex::new(plan.iter().copied().collect::<VecDeque<_>>());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                loop {
                    let Some((operation, id)) = work.lock().unwrap().pop_front() else { return };
                    let begin = start.elapsed();
                    let (ok, status) = perform(t, operation, &ids[id]);
                    let call = Call { operation, begin, end: start.elapsed(), ok, status };
                    calls[id].lock().unwrap().push(call);
                }
            });
        }
    });
    for id in &ids {
        t.runtime(&["delete", "--force", id]).ok();
    }
    for calls in calls {
        let calls = calls.into_inner().unwrap();
        let shown = calls
            .iter()
            .map(|c| format!("{:?} {:?}-{:?} {} {}", c.operation, c.begin, c.end, c.ok, c.status.trim()));
        prop_assert!(
            has_an_order(&calls),
            "no order gives these answers:\n{}",
            shown.collect::<Vec<_>>().join("\n")
        );
    }
    let left: BTreeSet<String> = std::fs::read_dir(t.state_dir())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    prop_assert!(left.is_empty(), "left in the state directory: {left:?}");
    Ok(())
}

#[test]
fn answers_of_many_callers_have_an_order() {
    if !is_oxrun() {
        skip!("the model is of oxrun's answers");
    }
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "1000"]);
    t.write_config();
    let rounds = std::env::var("OXRUN_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let seed: [u8; 16] = match std::env::var("OXRUN_SEED") {
        Ok(text) => text.parse::<u128>().unwrap().to_le_bytes(),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos().to_le_bytes(),
    };
    println!("OXRUN_SEED={}", u128::from_le_bytes(seed));
    let config =
        Config { cases: rounds, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &seed);
    let plan = proptest::collection::vec((operation(), 0..IDS), OPERATIONS);
    TestRunner::new_with_rng(config, rng).run(&plan, |plan| round(&t, &plan)).unwrap();
    if std::env::var_os("OXRUN_CASES").is_some() {
        // For tools/test-security.
        let all = OPERATIONS * rounds as usize;
        eprintln!(
            "OPERATIONS {all} by {CALLERS} callers on {IDS} ids, {OPERATIONS} in each of {rounds} rounds"
        );
    }
}

#[test]
fn the_model_refuses_what_cannot_be() {
    let call = |operation, begin, end, ok, status: &str| Call {
        operation,
        begin: Duration::from_millis(begin),
        end: Duration::from_millis(end),
        ok,
        status: status.into(),
    };
    use Operation::*;
    let create = call(Create, 0, 10, true, "");
    assert!(has_an_order(&[create.clone(), call(State, 5, 6, true, "creating")]));
    assert!(!has_an_order(&[create.clone(), call(State, 11, 12, true, "creating")]));
    assert!(!has_an_order(&[create.clone(), call(Create, 1, 9, true, "")]));
    assert!(has_an_order(&[create.clone(), call(Create, 1, 9, false, "")]));
    assert!(!has_an_order(&[create.clone(), call(Start, 11, 12, false, "")]));
    assert!(!has_an_order(&[create.clone(), call(Start, 11, 12, true, ""), call(Start, 13, 14, true, "")]));
    assert!(!has_an_order(&[call(Kill, 0, 1, true, "")]));
    assert!(has_an_order(&[create, call(Kill, 11, 12, true, ""), call(State, 13, 14, true, "stopped")]));
}
