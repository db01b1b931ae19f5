use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use super::{check_env, default_of, documents, keys, strings, variable};

const FILES: [&str; 2] = ["kubernetes.yaml", "kubernetes-cronjob.yaml"];

/// The one object of a kind.
fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

/// The template of the Pods, whatever makes them.
fn template(objects: &[Value]) -> &Value {
    match objects.iter().find(|object| object["kind"] == "CronJob") {
        Some(job) => &job["spec"]["jobTemplate"]["spec"]["template"],
        None => &only(objects, "Deployment")["spec"]["template"],
    }
}

fn container(objects: &[Value]) -> &Value {
    &template(objects)["spec"]["containers"][0]
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn names(value: &Value) -> BTreeSet<&str> {
    items(value).iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn every_setting_is_known_and_every_secret_is_there() {
    for file in FILES {
        let objects = documents(file);
        let secret = only(&objects, "Secret");
        let keys = keys(&secret["stringData"]);
        let mount = "/run/secrets/backupgram";
        let mut settings = BTreeMap::new();
        for entry in items(&container(&objects)["env"]) {
            let name = entry["name"].as_str().unwrap();
            assert!(variable(name).is_some(), "{file}: {name}");
            let value = match entry["value"].as_str() {
                Some(value) => value,
                None => {
                    let reference = &entry["valueFrom"]["secretKeyRef"];
                    assert_eq!(reference["name"], secret["metadata"]["name"], "{file}: {name}");
                    let key = reference["key"].as_str().unwrap();
                    secret["stringData"][key].as_str().unwrap_or_else(|| panic!("{file}: no {key}"))
                }
            };
            if let Some(key) = value.strip_prefix(mount) {
                assert!(keys.contains(&key.trim_start_matches('/')), "{file}: {name}");
            }
            settings.insert(name.to_owned(), value.to_owned());
        }
        check_env(&settings);
    }
}

#[test]
fn every_volume_has_a_source_that_is_there_and_every_mount_a_volume() {
    for file in FILES {
        let objects = documents(file);
        let volumes = &template(&objects)["spec"]["volumes"];
        let mounts = &container(&objects)["volumeMounts"];
        assert_eq!(names(volumes), names(mounts), "{file}");
        for volume in items(volumes) {
            let (kind, name) = match keys(volume)[..] {
                ["name", "persistentVolumeClaim"] => {
                    ("PersistentVolumeClaim", &volume["persistentVolumeClaim"]["claimName"])
                }
                ["name", "secret"] => ("Secret", &volume["secret"]["secretName"]),
                _ => continue,
            };
            assert_eq!(&only(&objects, kind)["metadata"]["name"], name, "{file}");
        }
        let path_of = |name: &str| {
            let mount = items(mounts).iter().find(|mount| mount["name"] == name).unwrap();
            mount["mountPath"].as_str().unwrap()
        };
        assert_eq!(path_of("backups"), default_of("BACKUP_DIR"), "{file}");
        // The root filesystem is read-only.
        assert_eq!(path_of("tmp"), "/tmp", "{file}");
    }
}

#[test]
fn the_probes_ask_the_ports_of_the_code_and_a_failed_backup_restarts_nothing() {
    let objects = documents("kubernetes.yaml");
    let container = container(&objects);
    let port = |name: &str| {
        let port = items(&container["ports"]).iter().find(|port| port["name"] == name).unwrap();
        port["containerPort"].to_string()
    };
    assert_eq!(port("api"), default_of("REST_API_PORT"));
    assert_eq!(port("health"), default_of("HEALTHCHECK_PORT"));
    let healthz = json!({"path": "/healthz", "port": "api"});
    assert_eq!(container["startupProbe"]["httpGet"], healthz);
    assert_eq!(container["livenessProbe"]["httpGet"], healthz);
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/", "port": "health"}));
    let service = &only(&objects, "Service")["spec"];
    assert_eq!(service["publishNotReadyAddresses"], true);
    assert_eq!(service["ports"], json!([{"name": "api", "port": 8081, "targetPort": "api"}]));
    let policy = &only(&objects, "NetworkPolicy")["spec"];
    assert_eq!(policy["ingress"][0]["ports"], json!([{"port": "api"}]));
    assert_eq!(policy["egress"][0]["ports"][0]["port"].to_string(), default_of("POSTGRES_PORT"));
}

#[test]
fn every_selector_finds_the_pods() {
    let objects = documents("kubernetes.yaml");
    let labels = &template(&objects)["metadata"]["labels"];
    for (kind, selector) in [
        ("Deployment", "/spec/selector/matchLabels"),
        ("Service", "/spec/selector"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
    ] {
        assert_eq!(only(&objects, kind).pointer(selector), Some(labels), "{kind}");
    }
}

#[test]
fn one_pod_at_a_time_writes_to_the_volume() {
    let objects = documents("kubernetes.yaml");
    let deployment = &only(&objects, "Deployment")["spec"];
    assert_eq!((&deployment["replicas"], &deployment["strategy"]), (&json!(1), &json!({"type": "Recreate"})));
    let objects = documents("kubernetes-cronjob.yaml");
    let job = &only(&objects, "CronJob")["spec"];
    assert_eq!(job["concurrencyPolicy"], "Forbid");
    let command = strings(&container(&objects)["command"]);
    assert_eq!(command.len(), 1);
    let help = Command::new(env!("CARGO_BIN_EXE_backupgram")).arg("help").args(command).output();
    assert!(help.expect("run backupgram").status.success());
}

#[test]
fn the_pods_have_no_rights_that_they_do_not_need() {
    for file in FILES {
        let objects = documents(file);
        let pod = &template(&objects)["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{file}");
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{file}");
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert_eq!(context[id], 10001, "{file}: {id}");
        }
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{file}");
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container(&objects)["securityContext"], expected, "{file}");
    }
}
