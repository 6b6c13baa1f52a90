//! The state directory against a real filesystem: races, debris, locks and refusals.

use super::*;
use crate::container::identity::Identity;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

/// A root directory of its own for a test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("oxrun-state-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn dir(&self) -> StateDir {
        StateDir::open_or_create(&self.0.join("a/b")).unwrap()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join("a/b").join(below)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn creating(id: &str) -> State {
    State {
        version: State::VERSION,
        oci_version: "1.3.0".into(),
        id: id.into(),
        phase: Phase::Creating,
        creator: Identity::own().unwrap(),
        init: None,
        bundle: "/bundle".into(),
        rootfs: "/bundle/rootfs".into(),
        created: "2026-01-01T00:00:00Z".into(),
        owner: 0,
        freezer: None,
        cgroup: None,
        own_pid_namespace: true,
        own_mount_namespace: true,
        root_mount: None,
        new_keyring: true,
        poststart: false,
        poststop: false,
        rdt: None,
        terminal: false,
        annotations: BTreeMap::new(),
    }
}

fn dead() -> Identity {
    Identity { pid: 1, start_time: u64::MAX, boot_id: "x".into(), pidfs: None }
}

fn kind(error: &anyhow::Error) -> Option<&Error> {
    error.downcast_ref()
}

fn leftovers(scratch: &Scratch) -> Vec<String> {
    let entries = std::fs::read_dir(scratch.path("")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with('.'))
        .collect()
}

#[test]
fn what_is_reserved_is_found_and_removed() {
    let scratch = Scratch::new("roundtrip");
    let dir = scratch.dir();
    assert_eq!(dir.path, scratch.path("").components().collect::<PathBuf>());
    let entry = dir.reserve(&creating("one"), b"{}").unwrap();
    dir.reserve(&creating("a.b+c"), b"{}").unwrap();
    assert_eq!(dir.list().unwrap(), ["a.b+c", "one"]);
    let found = dir.open_entry("one").unwrap();
    assert_eq!(found.state().unwrap(), creating("one"));
    assert_eq!(found.read_config().unwrap(), b"{}");
    entry.write_state(&State { version: State::VERSION + 1, ..creating("one") }).unwrap();
    assert!(found.state().unwrap_err().to_string().contains("newer"));
    assert!(!found.try_lock(Lock::Shared).unwrap(), "reserve leaves it locked");
    entry.unlock().unwrap();
    assert!(found.try_lock(Lock::Exclusive).unwrap());
    found.remove().unwrap();
    assert_eq!(dir.list().unwrap(), ["a.b+c"]);
    assert_eq!(leftovers(&scratch), [""; 0]);
    let gone = dir.open_entry("one").unwrap_err();
    assert_eq!(gone.to_string(), "container does not exist: `one`");
    assert!(Error::is_not_found(&gone));
    // Who still has it open and gets the lock now must not work on it.
    assert!(Error::is_not_found(&entry.lock(Lock::Exclusive).unwrap_err()));
    assert!(Error::is_not_found(&entry.state().unwrap_err()));
}

#[test]
fn everything_is_private() {
    let scratch = Scratch::new("modes");
    let entry = scratch.dir().reserve(&creating("x"), b"{}").unwrap();
    let _socket = entry.bind_start_socket().unwrap();
    let mode = |below: &str| std::fs::metadata(scratch.path(below)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        [mode(""), mode("x"), mode("x/state.json"), mode("x/config.json")],
        [0o700, 0o700, 0o600, 0o600]
    );
}

#[test]
fn of_many_at_once_exactly_one_wins() {
    let scratch = Scratch::new("race");
    scratch.dir();
    for round in 0..20 {
        let id = format!("r{round}");
        let wins: Vec<bool> = std::thread::scope(|scope| {
            let one = || match scratch.dir().reserve(&creating(&id), b"{}") {
                Ok(_entry) => true,
                Err(error) => {
                    assert_eq!(kind(&error), Some(&Error::Exists { id: id.clone(), debris: false }));
                    false
                }
            };
            let sweeper = scope.spawn(|| scratch.dir().sweep_debris().unwrap());
            let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            sweeper.join().unwrap();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(wins.iter().filter(|won| **won).count(), 1, "round {round}");
    }
    assert_eq!(leftovers(&scratch), [""; 0]);
}

#[test]
fn what_a_killed_create_left_is_debris() {
    let scratch = Scratch::new("debris");
    let dir = scratch.dir();
    let debris = |id| Error::is_debris(&dir.reserve(&creating(id), b"{}").unwrap_err());
    // Its creator is dead.
    dir.reserve(&State { creator: dead(), ..creating("x") }, b"{}").unwrap();
    assert!(debris("x"));
    let entry = dir.open_entry("x").unwrap();
    entry.lock(Lock::Exclusive).unwrap();
    entry.remove().unwrap();
    // Its creator is at work, then has finished.
    let entry = dir.reserve(&creating("x"), b"{}").unwrap();
    assert!(!debris("x"));
    entry.write_state(&State { phase: Phase::Created, creator: dead(), ..creating("x") }).unwrap();
    entry.unlock().unwrap();
    assert!(!debris("x"));
    // Its state cannot be read: debris unless somebody is busy with it.
    std::fs::write(scratch.path("x/state.json"), b"{\"version\":").unwrap();
    assert!(debris("x"));
    entry.lock(Lock::Exclusive).unwrap();
    assert!(!debris("x"));
}

#[test]
fn sweeping_spares_what_is_locked() {
    let scratch = Scratch::new("sweep");
    let dir = scratch.dir();
    std::fs::create_dir_all(scratch.path(".new-1-2-3/deep/er")).unwrap();
    std::fs::write(scratch.path(".new-1-2-3/deep/file"), b"x").unwrap();
    std::fs::create_dir(scratch.path(".gone-1-2-3")).unwrap();
    symlink("/", scratch.path(".gone-1-2-3/link")).unwrap();
    let (busy, _locked) = dir.make_locked_dir().unwrap();
    assert_eq!(dir.sweep_debris().unwrap(), 2);
    assert_eq!(leftovers(&scratch), [busy]);
    assert_eq!(dir.list().unwrap(), [""; 0]);
}

#[test]
fn roots_of_others_are_refused() {
    let scratch = Scratch::new("roots");
    let path = scratch.0.join("r");
    assert!(StateDir::open(&path).unwrap().is_none());
    let refusal = |path: &Path| StateDir::open_or_create(path).unwrap_err().to_string();
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o770)).unwrap();
    assert!(refusal(&path).contains("others may write to it (mode 770)"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    StateDir::open_or_create(&path).unwrap();
    chown(&path, Some(4711), None).unwrap();
    assert!(refusal(&path).contains("belongs to uid 4711, not 0"));
    chown(&path, Some(0), None).unwrap();
    symlink(&path, scratch.0.join("link")).unwrap();
    assert!(refusal(&scratch.0.join("link")).contains("not a directory"));
    std::fs::write(scratch.0.join("file"), b"").unwrap();
    assert!(
        refusal(&scratch.0.join("file/x")).contains("file/x`: not a directory; choose another with --root")
    );
    // /proc stands for a read-only root here: nothing can be made in it, even by root.
    let unwritable = refusal(Path::new("/proc/oxrun"));
    assert!(unwritable.contains("create state directory `/proc/oxrun`: no such file"), "{unwritable}");
    let unwritable = StateDir::open_or_create(Path::new("/proc")).unwrap();
    let error = unwritable.reserve(&creating("x"), b"{}").unwrap_err().to_string();
    assert!(
        error.starts_with("create state of `x` in `/proc`: no such file or directory; choose"),
        "{error}"
    );
}

#[test]
fn ids_are_checked_first() {
    let scratch = Scratch::new("ids");
    let dir = scratch.dir();
    for error in [dir.reserve(&creating("../x"), b"{}").unwrap_err(), dir.open_entry("..").unwrap_err()] {
        assert!(matches!(kind(&error), Some(Error::Usage(_))), "{error}");
    }
}

#[test]
fn the_status_follows_process_and_socket() {
    let scratch = Scratch::new("status");
    let entry = scratch.dir().reserve(&creating("x"), b"{}").unwrap();
    let status = |state: &State| entry.status(state).unwrap().0;
    assert_eq!(status(&creating("x")), Status::Creating);
    assert_eq!(status(&State { creator: dead(), ..creating("x") }), Status::Stopped);
    let created = State { phase: Phase::Created, init: Some(Identity::own().unwrap()), ..creating("x") };
    let socket = entry.bind_start_socket().unwrap();
    assert_eq!(status(&created), Status::Created);
    assert!(entry.status(&created).unwrap().1.is_some());
    assert_eq!(status(&State { init: Some(dead()), ..created.clone() }), Status::Stopped);
    let start = entry.connect_start_socket().unwrap();
    let init = rustix::net::accept(&socket).unwrap();
    rustix::io::write(&start, b"go").unwrap();
    assert_eq!(rustix::io::read(&init, &mut [0; 8][..]).unwrap(), 2);
    drop(socket);
    let refused = entry.connect_start_socket().unwrap_err();
    assert_eq!(refused.to_string(), "cannot start a container that has stopped");
    entry.unlink_start_socket().unwrap();
    entry.unlink_start_socket().unwrap();
    assert_eq!(status(&created), Status::Running);
    let refused = entry.connect_start_socket().unwrap_err();
    assert_eq!(kind(&refused), Some(&Error::WrongState("cannot start an already running container".into())));
}

#[test]
fn a_relative_root_needs_a_working_directory() {
    let scratch = Scratch::new("relative");
    let status = crate::sys::spawn::in_child(|| {
        let states = scratch.dir();
        let gone = scratch.path("gone");
        std::fs::create_dir(&gone).unwrap();
        std::env::set_current_dir(&gone).unwrap();
        std::fs::remove_dir(&gone).unwrap();
        let relative = StateDir { root: states.root_again().unwrap(), path: "x".into() };
        let error = format!("{:#}", relative.path_of("a").unwrap_err());
        assert!(error.starts_with("find the state directory: "), "{error}");
    });
    assert_eq!(status, 0);
}

/// A mount below it, which rmdir(2) and unlink(2) refuse.
#[test]
fn what_is_mounted_in_a_container_s_directory_stays() {
    let scratch = Scratch::new("mounted");
    let states = scratch.dir();
    std::fs::create_dir_all(scratch.path(".gone-1-1-1/mount")).unwrap();
    let mount = scratch.path(".gone-1-1-1/mount");
    let run = |program: &str, args: &[&std::ffi::OsStr]| {
        assert!(std::process::Command::new(program).args(args).status().unwrap().success());
    };
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: mounting needs root");
    }
    run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "none".as_ref(), mount.as_ref()]);
    let swept = states.sweep_debris();
    run("umount", &[mount.as_ref()]);
    let error = swept.unwrap_err().to_string();
    assert_eq!(error, "remove leftover `.gone-1-1-1`: device or resource busy");
    assert_eq!(states.sweep_debris().unwrap(), 1);
}

#[test]
fn a_state_that_is_gone_or_no_file() {
    let scratch = Scratch::new("odd");
    let states = scratch.dir();
    std::fs::create_dir_all(scratch.path("c/state.json")).unwrap();
    let entry = states.open_entry("c").unwrap();
    assert_eq!(entry.is_broken().unwrap_err().to_string(), "read state.json of `c`: is a directory");
    std::fs::remove_dir(scratch.path("c/state.json")).unwrap();
    let said = "read state.json of `c`; delete --force removes a broken container: no such file or directory";
    assert_eq!(entry.state().unwrap_err().to_string(), said);
    std::fs::write(scratch.path("c/state.json"), "nonsense").unwrap();
    let error = format!("{:#}", entry.state().unwrap_err());
    assert!(
        error.starts_with("read state.json of `c`; delete --force removes a broken container: expected"),
        "{error}"
    );
}
