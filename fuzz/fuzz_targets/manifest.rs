//! Manifests: those that lie on a volume that others may write to, and those of a backup's parts, which come from a
//! chat that others may write to.

#![no_main]

use backupgram::store::catalog::Manifest;
use backupgram::delivery::telegram::PartsManifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = PartsManifest::parse(bytes) {
        assert_eq!(manifest.parts.iter().map(|part| part.size).sum::<u64>(), manifest.size);
    }
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return };
    // It becomes the entity tag of an answer.
    let hexadecimal = manifest.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert!(hexadecimal && manifest.sha256.len() == 64, "{:?} is no checksum", manifest.sha256);
    let database = manifest.database.as_str();
    assert!((1..64).contains(&database.len()) && !database.contains('\0'));
    assert!(manifest.duration_seconds.is_finite());

    let written = serde_json::to_vec(&manifest).expect("a manifest in JSON");
    let mut read: Manifest = serde_json::from_slice(&written).expect("a manifest of ours");
    // The last bit of a float may be lost in text.
    let lost = (read.duration_seconds - manifest.duration_seconds).abs();
    assert!(lost <= manifest.duration_seconds.abs() * 1e-15);
    read.duration_seconds = manifest.duration_seconds;
    assert_eq!(read, manifest);
});
