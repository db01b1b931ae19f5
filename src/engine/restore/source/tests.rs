use super::*;

#[test]
fn a_manifest_of_another_database_is_refused_unless_it_is_ignored() {
    let root = tempfile::tempdir().unwrap();
    let directory = BackupDirectory::new(root.path().join("backups"));
    directory.prepare().unwrap();
    let name = "app-20260416-143000.sql";
    let manifest = serde_json::json!({
        "sha256": "0".repeat(64), "size": 4, "database": "shop", "format": "plain", "encrypted": false,
        "server_version": "17.2", "tool_version": "17.2", "created_at": 0, "duration_seconds": 1.5,
    });
    let outside = root.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    for place in [directory.slot_path(Slot::Last), outside.clone()] {
        std::fs::write(place.join(name), "dump").unwrap();
        std::fs::write(place.join(format!(".{name}.json")), manifest.to_string()).unwrap();
    }
    std::os::unix::fs::symlink(name, outside.join("app-latest.sql")).unwrap();
    let labels = [
        format!("last/{name}"),
        directory.slot_path(Slot::Last).join(name).display().to_string(),
        outside.join(name).display().to_string(),
        outside.join("app-latest.sql").display().to_string(),
    ];
    for label in labels {
        let error = Source::open(&directory, &label, false).unwrap_err().to_string();
        let said = "says database app, its manifest says shop: --ignore-manifest";
        assert!(error.contains(said), "{error}");
        let source = Source::open(&directory, &label, true).unwrap();
        assert_eq!(source.database().unwrap().as_str(), "app", "{label}");
        assert!(source.manifest.is_none() && source.size_on_server().is_none(), "{label}");
    }
}
