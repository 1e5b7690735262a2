use serde_json::json;

use super::*;

fn document(key: &str, text: String) -> DocumentRecord {
    DocumentRecord {
        key: key.to_owned(),
        source: String::new(),
        lines_before: 0,
        digest: Digest::of(text.as_bytes()),
        text,
        parsed: ParsedOnce::default(),
    }
}

#[test]
fn a_body_comes_back_from_its_record() {
    let body = RecordBody::from(PinRecord {
        service: "shop/a".to_owned(),
        filter: "acme/retry".parse().unwrap(),
        version: "1.4.2".parse().unwrap(),
        digest: Digest::of(b"x"),
        allow_older: true,
        rollback: false,
    });
    let json = body.to_body().unwrap();
    assert_eq!((body.kind(), &json["version"]), ("pinned", &json!("1.4.2")));
    assert_eq!(RecordBody::from_body("pinned", &json), Ok(Some(body)));
}

#[test]
fn kinds_of_others_are_none_and_broken_bodies_are_errors() {
    assert_eq!(RecordBody::from_body("tag-put", &json!({})), Ok(None));
    for broken in [json!(null), json!({}), json!({ "service": 7 })] {
        assert!(matches!(
            RecordBody::from_body("pinned", &broken),
            Err(RecordError::Malformed { .. })
        ));
    }
}

#[test]
fn a_revocation_names_a_digest_or_a_key() {
    let read = |body| RecordBody::from_body("revoked", &body).unwrap().unwrap();
    let digest = Digest::of(b"x");
    let RecordBody::Revoked(one) = read(json!({ "digest": digest, "reason": "stolen" })) else {
        panic!()
    };
    assert_eq!(one.what, RevocationTarget::Digest { digest });
    let RecordBody::Revoked(one) = read(json!({ "key": "k", "from_index": 7, "reason": "lost" }))
    else {
        panic!()
    };
    assert_eq!(one.what, RevocationTarget::Key { key: "k".to_owned(), from_index: Some(7) });
    assert!(RecordBody::from_body("revoked", &json!({ "reason": "?" })).is_err());
}

#[test]
fn many_documents_are_packed_into_records_that_fit() {
    // A quote is two bytes in JSON: the written size counts, not the size in memory.
    let texts = (0..40).map(|at| document(&format!("Service/shop/{at}"), "\"".repeat(at * 500)));
    let whole = ApplyRecord {
        documents: texts.collect(),
        removed: vec!["Grant/a/b".to_owned()],
        ..ApplyRecord::default()
    };
    let packed = whole.clone().pack().unwrap();
    assert!(packed.len() > 1 && packed.len() < 40, "{}", packed.len());
    for one in &packed {
        assert!(RecordBody::from(one.clone()).to_body().is_ok());
    }
    let documents: Vec<_> = packed.iter().flat_map(|one| one.documents.clone()).collect();
    assert_eq!(documents, whole.documents);
}

#[test]
fn a_document_that_fits_into_no_record_is_refused_by_its_key() {
    let one = |text: String| ApplyRecord {
        documents: vec![document("A/b/c", text)],
        ..ApplyRecord::default()
    };
    let error = one("x".repeat(MAX_TEXT_BYTES + 1)).pack().unwrap_err();
    assert_eq!(error.to_string(), "A/b/c has 49153 bytes, more than the limit of 49152; split it");
    assert!(matches!(one("\"".repeat(40_000)).pack(), Err(RecordError::TooLarge { .. })));
}
