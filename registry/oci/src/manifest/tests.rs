use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": BlobDigest::of(bytes), "size": bytes.len() })
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor("application/vnd.wasm.config.v0+json", b"config"),
        "layers": [descriptor("application/wasm", b"layer")],
        "annotations": { "a": "b" },
        "unknown": [1],
    })
}

fn parse(kind: &str, document: &Value) -> Result<OciManifest, ManifestError> {
    OciManifest::parse(kind, document.to_string().as_bytes())
}

#[test]
fn an_image_says_what_it_is_made_of() {
    let manifest = parse(&format!("{IMAGE}; charset=utf-8"), &image()).unwrap();
    assert_eq!(manifest.media_type, IMAGE);
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.wasm.config.v0+json"));
    assert_eq!(manifest.subject, None);
    assert_eq!(manifest.annotations["a"], "b");
    let digests: Vec<_> = manifest.blobs.iter().map(|target| &target.digest).collect();
    assert!(digests.contains(&&BlobDigest::of(b"config")));
    assert!(digests.contains(&&BlobDigest::of(b"layer")));
}

#[test]
fn its_own_artifact_type_goes_before_that_of_the_config() {
    let mut document = image();
    document["artifactType"] = json!("application/example");
    document["subject"] = descriptor(IMAGE, b"subject");
    let manifest = parse(IMAGE, &document).unwrap();
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/example"));
    assert_eq!(manifest.subject, Some(BlobDigest::of(b"subject")));
}

#[test]
fn an_index_refers_to_manifests_and_may_be_empty() {
    let document = json!({ "schemaVersion": 2, "manifests": [descriptor(IMAGE, b"one"), descriptor(INDEX, b"two")] });
    assert_eq!(parse(INDEX, &document).unwrap().manifests.len(), 2);
    let empty = parse(INDEX, &json!({ "schemaVersion": 2, "manifests": [] })).unwrap();
    assert!(empty.manifests.is_empty() && empty.blobs.is_empty());
    assert_eq!(empty.artifact_type, None);
}

#[test]
fn layers_that_are_kept_elsewhere_need_not_be_here() {
    let mut document = image();
    for kind in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        document["layers"] = json!([descriptor(kind, b"elsewhere")]);
        assert_eq!(parse(IMAGE, &document).unwrap().blobs.len(), 1, "{kind}");
    }
}

#[test]
fn any_other_type_is_taken_and_what_it_refers_to_counts() {
    let manifest = parse("application/vnd.example+json", &json!({ "hello": true })).unwrap();
    assert_eq!(manifest.media_type, "application/vnd.example+json");
    let draft = json!({ "blobs": [descriptor("a/b", b"x")] });
    assert_eq!(parse("application/vnd.example+json", &draft).unwrap().blobs.len(), 1);
}

#[test]
fn what_breaks_a_rule_is_refused_with_the_field() {
    let change = |act: fn(&mut Value)| {
        let mut document = image();
        act(&mut document);
        parse(IMAGE, &document).unwrap_err().to_string()
    };
    for (why, said) in [
        (change(|m| m["schemaVersion"] = json!(1)), "schemaVersion"),
        (change(|m| m["mediaType"] = json!(INDEX)), "mediaType"),
        (change(|m| drop(m.as_object_mut().unwrap().remove("config"))), "config is missing"),
        (change(|m| drop(m.as_object_mut().unwrap().remove("layers"))), "layers is missing"),
        (change(|m| m["layers"] = json!({})), "invalid type"),
        (change(|m| m["config"]["digest"] = json!("sha256:00")), "sha256:00"),
        (change(|m| m["config"]["size"] = json!(-1)), "invalid value"),
        (change(|m| m["annotations"] = json!({ "a": 1 })), "invalid type"),
        (change(|m| m["artifactType"] = json!("a".repeat(256))), "artifactType"),
        (
            change(|m| {
                m["layers"] = json!([descriptor("a/b", b"x"), descriptor("a/b", b"x")]);
                m["layers"][1]["size"] = json!(7);
            }),
            "two sizes",
        ),
    ] {
        assert!(why.contains(said), "{why}");
    }
    let twice = br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
    assert!(OciManifest::parse(INDEX, twice).unwrap_err().to_string().contains("duplicate field"));
    for bad in ["", "json", "a/b/c", "a /b", "/", &format!("a/{}", "b".repeat(260))] {
        assert!(OciManifest::parse(bad, b"{}").is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = OciManifest::parse(IMAGE, &bytes);
        let _ = OciManifest::parse(INDEX, &bytes);
    }

    #[test]
    fn no_change_of_a_byte_makes_the_parser_panic(at in 0_usize..400, byte in any::<u8>()) {
        let mut bytes = image().to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = OciManifest::parse(IMAGE, &bytes);
    }
}

#[test]
fn bytes_that_are_an_image_and_an_index_at_once_are_refused_under_every_type() {
    let index = || json!({ "schemaVersion": 2, "manifests": [descriptor(IMAGE, b"one")] });
    let with = |mut document: Value, field: &str, value: Value| {
        document.as_object_mut().unwrap().remove("mediaType");
        document[field] = value;
        document
    };
    let layer = descriptor("application/wasm", b"layer");
    for (kind, document) in [
        (IMAGE, with(image(), "manifests", json!([descriptor(IMAGE, b"one")]))),
        (IMAGE, with(image(), "manifests", json!([]))),
        (IMAGE, with(image(), "fsLayers", json!([{ "blobSum": "sha256:00" }]))),
        (INDEX, with(index(), "fsLayers", json!([]))),
        (DOCKER_IMAGE, with(image(), "manifests", json!([]))),
        (INDEX, with(index(), "layers", json!([layer]))),
        (INDEX, with(index(), "layers", json!([]))),
        (INDEX, with(index(), "config", layer.clone())),
        (INDEX, with(index(), "blobs", json!([]))),
        (DOCKER_LIST, with(index(), "layers", json!([]))),
        (IMAGE, index()),
        (INDEX, with(image(), "config", layer.clone())),
        ("application/example", with(index(), "layers", json!([layer]))),
        ("application/example", with(index(), "config", layer.clone())),
        // The same in upper case, which others read as the same.
        ("Application/vnd.oci.IMAGE.manifest.v1+json", index()),
        ("APPLICATION/VND.OCI.IMAGE.INDEX.V1+JSON", with(image(), "layers", json!([]))),
        (INDEX, with(index(), "Layers", json!([layer]))),
        (IMAGE, with(image(), "MANIFESTS", json!([]))),
        (IMAGE, with(image(), "mediatype", json!(INDEX))),
        ("application/example", with(index(), "cONFIG", layer.clone())),
        // Letters beyond ASCII that are another case of one in ASCII.
        (IMAGE, with(image(), "manife\u{17f}ts", json!([]))),
        (INDEX, with(index(), "layer\u{17f}", json!([layer]))),
        (INDEX, with(index(), "\u{17f}ubject", layer.clone())),
    ] {
        assert!(parse(kind, &document).is_err(), "{kind} {document}");
    }
    assert!(parse("application/example", &index()).is_ok());
}

#[test]
fn a_descriptor_that_some_readers_read_as_another_is_refused() {
    let other = json!(BlobDigest::of(b"other"));
    let with = |name: &str, value: &Value| {
        let mut descriptor = descriptor("application/wasm", b"layer");
        descriptor[name] = value.clone();
        descriptor
    };
    let spelled = [("Digest", &other), ("\u{17f}ize", &json!(99)), ("MEDIATYPE", &json!(IMAGE))];
    for (name, value) in spelled {
        for field in ["config", "layers", "subject"] {
            let mut document = image();
            let wrong = with(name, value);
            document[field] = if field == "layers" { json!([wrong]) } else { wrong };
            let refused = parse(IMAGE, &document).unwrap_err().to_string();
            assert!(refused.contains("another spelling"), "{field} {name}: {refused}");
        }
    }
    // Fields that are specified and not read here, and those of others.
    for (name, value) in
        [("annotations", json!({ "a": "b" })), ("data", json!("")), ("mine", other)]
    {
        let mut document = image();
        document["layers"] = json!([with(name, &value)]);
        assert!(parse(IMAGE, &document).is_ok(), "{name}");
    }
}
