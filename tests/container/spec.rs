//! `spec --example` and `spec --from`: what is written runs as it is, and images ask for no more than they may.

use crate::harness::{Sandbox, is_oxrun};
use serde_json::{Value, json};
use std::fs;

/// Writes config.json with these options, and reads it.
fn written(t: &Sandbox, options: &[&str]) -> Value {
    let file = t.bundle().join("config.json");
    let _ = fs::remove_file(&file);
    t.runtime(&[&["spec"], options].concat()).ok();
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn an_example_of_a_service_runs_until_it_is_told_to_end() {
    if !is_oxrun() {
        skip!("examples are oxrun's own");
    }
    let t = Sandbox::new();
    let config = written(&t, &["--example", "service"]);
    assert_eq!(config["linux"]["resources"]["memory"]["limit"], 256 << 20);
    t.runtime(&["create", &t.id]).ok();
    t.runtime(&["start", &t.id]).ok();
    assert_eq!(t.runtime(&["state", &t.id]).ok().json()["status"], "running");
    let script = "touch /tmp/a /run/b && ! touch /c 2>/dev/null && echo yes";
    assert_eq!(t.runtime(&["exec", &t.id, "sh", "-c", script]).ok().stdout, "yes\n");
    t.runtime(&["kill", &t.id, "TERM"]).ok();
    t.wait_status("stopped");
    t.runtime(&["delete", &t.id]).ok();
}

#[test]
fn an_example_in_the_network_of_the_host_runs() {
    if !is_oxrun() {
        skip!("examples are oxrun's own");
    }
    let t = Sandbox::new();
    let mut config = written(&t, &["--example", "host-network"]);
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["readlink", "/proc/self/ns/net"]);
    fs::write(t.bundle().join("config.json"), config.to_string()).unwrap();
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(t.runtime(&["run", &t.id]).ok().stdout.trim(), host.to_str().unwrap());
}

#[test]
fn the_other_examples_are_those_that_spec_knows() {
    if !is_oxrun() {
        skip!("examples are oxrun's own");
    }
    let t = Sandbox::new();
    assert_eq!(written(&t, &["--example", "shell"]), written(&t, &[]));
    assert_eq!(written(&t, &["--example", "rootless"]), written(&t, &["--rootless"]));
    t.runtime(&["spec", "--example", "x"]).failed().says(&["use shell, service, rootless or host-network"]);
}

/// An image layout with one image of this configuration.
fn layout(t: &Sandbox, image: &Value) -> String {
    let directory = t.path("layout");
    fs::create_dir_all(format!("{directory}/blobs/sha256")).unwrap();
    let blob = |name: &str, value: Value| {
        fs::write(format!("{directory}/blobs/sha256/{name}"), value.to_string()).unwrap();
    };
    blob("c0", image.clone());
    blob("ab", json!({"schemaVersion": 2, "config": {"digest": "sha256:c0"}, "layers": []}));
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let manifests = json!([
        {"digest": "sha256:99", "platform": {"os": "linux", "architecture": "vax"}},
        {"digest": "sha256:ab", "platform": {"os": "linux", "architecture": architecture},
         "annotations": {"org.opencontainers.image.ref.name": "v1"}},
    ]);
    index(&directory, &manifests);
    directory
}

fn index(directory: &str, manifests: &Value) {
    fs::write(format!("{directory}/index.json"), json!({"manifests": manifests}).to_string()).unwrap();
}

#[test]
fn files_of_an_image_have_a_largest_length() {
    if !is_oxrun() {
        skip!("--from is oxrun's own");
    }
    let t = Sandbox::new();
    let directory = layout(&t, &json!({}));
    let file = fs::File::options().write(true).open(format!("{directory}/blobs/sha256/c0")).unwrap();
    file.set_len((4 << 20) + 1).unwrap();
    let _ = fs::remove_file(t.bundle().join("config.json"));
    t.runtime(&["spec", "--from", &directory]).failed().says(&["it is longer than 4194304 bytes"]).one_line();
}

#[test]
fn an_image_says_what_runs_and_as_whom() {
    if !is_oxrun() {
        skip!("--from is oxrun's own");
    }
    let t = Sandbox::new();
    let etc = t.rootfs().join("etc");
    fs::create_dir_all(&etc).unwrap();
    fs::write(
        etc.join("passwd"),
        "root:x:0:0::/root:/bin/sh\n7:x:0:0::/:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n",
    )
    .unwrap();
    fs::write(etc.join("group"), "web:x:34:\nlog:x:4:a,web\n").unwrap();
    fs::create_dir(t.rootfs().join("data")).unwrap();
    fs::write(t.rootfs().join("data/seed"), "seed").unwrap();
    let script = "id -u; id -g; id -G; pwd; echo $A; cat /data/seed";
    let image = json!({"architecture": "amd64", "os": "linux", "config": {
        "User": "web", "Env": ["A=b c"], "Entrypoint": ["sh", "-c"], "Cmd": [script], "WorkingDir": "/srv/www",
        "Labels": {"mine": "1", "run.oci.hooks.stdout": "/etc/x", "org.systemd.property.X": "1"},
        "Volumes": {"/data": {}}, "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}},
    }});
    let directory = layout(&t, &image);
    let config = written(&t, &["--from", &directory]);
    let annotations = config["annotations"].as_object().unwrap();
    assert_eq!(annotations["org.opencontainers.image.stopSignal"], "SIGQUIT");
    assert_eq!(annotations["org.opencontainers.image.exposedPorts"], "80/tcp");
    assert_eq!(annotations["mine"], "1");
    assert!(annotations.keys().all(|key| !key.starts_with("run.oci") && !key.starts_with("org.systemd")));
    assert!(words(&config["process"]["env"]).iter().any(|variable| variable.starts_with("PATH=")));
    assert_eq!(written(&t, &["--from", &format!("{directory}:v1")]), config);
    let out = t.runtime(&["run", &t.id]).ok().stdout;
    assert_eq!(out, "33\n34\n34 4\n/srv/www\nb c\nseed");
}

#[test]
fn a_user_of_digits_is_an_id() {
    if !is_oxrun() {
        skip!("--from is oxrun's own");
    }
    let t = Sandbox::new();
    fs::create_dir_all(t.rootfs().join("etc")).unwrap();
    fs::write(t.rootfs().join("etc/passwd"), "7:x:0:0::/:/bin/sh\n").unwrap();
    let user = |text: &str| {
        let directory = layout(&t, &json!({"config": {"User": text, "Cmd": ["sh"]}}));
        let config = written(&t, &["--from", &directory]);
        (
            config["process"]["user"]["uid"].as_u64().unwrap(),
            config["process"]["user"]["gid"].as_u64().unwrap(),
        )
    };
    assert_eq!(user("7"), (7, 0));
    assert_eq!(user("7:8"), (7, 8));
    assert_eq!(user(""), (0, 0));
    for (bad, why) in [
        ("4294967295", "out of range"),
        ("99999999999999999999", "out of range"),
        ("nobody-here", "is not in"),
        ("0:staff", "is not in"),
    ] {
        let directory = layout(&t, &json!({"config": {"User": bad, "Cmd": ["sh"]}}));
        fs::remove_file(t.bundle().join("config.json")).unwrap_or_default();
        t.runtime(&["spec", "--from", &directory]).failed().one_line().says(&[why]);
    }
}

#[test]
fn a_bad_layout_is_refused() {
    if !is_oxrun() {
        skip!("--from is oxrun's own");
    }
    let t = Sandbox::new();
    let refused = |from: &str, why: &str| {
        t.runtime(&["spec", "--from", from]).failed().one_line().says(&[why]);
        assert!(!t.bundle().join("config.json").exists());
    };
    refused(&t.path("nowhere"), "open image layout");
    refused(t.rootfs().to_str().unwrap(), "must be an OCI image layout");
    let directory = layout(&t, &json!({"config": {"Cmd": ["sh"]}}));
    refused(&format!("{directory}:v2"), "no image `v2`");
    let one = |digest: &str| json!([{"digest": digest}]);
    for digest in ["sha256:../../x", "sha256/ab", "../a:b", "", "sha256:"] {
        index(&directory, &one(digest));
        refused(&directory, "is no digest");
    }
    index(&directory, &json!([{"digest": "sha256:ab"}, {"digest": "sha256:ab"}]));
    refused(&directory, "2 images: choose one");
    index(&directory, &one("sha256:ab"));
    let config = format!("{directory}/blobs/sha256/c0");
    fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &config).unwrap();
    refused(&directory, "blobs/sha256/c0");
    fs::remove_file(&config).unwrap();
    fs::write(&config, "{\"config\":{}}").unwrap();
    refused(&directory, "neither Entrypoint nor Cmd");
}
