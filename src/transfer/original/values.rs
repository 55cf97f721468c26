//! What the loose values of the original's records can mean: ids of any type, and ids of ours made from them.

use mongodb::bson::{Bson, Document, doc, spec::BinarySubtype};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// An id as text: as it is written, or as its UUID, its hexadecimal or its number is, else as its canonical JSON. The
/// same value is the same text in every record; none where there is no value.
pub(super) fn id_text(value: Option<&Bson>) -> Option<String> {
    Some(match value? {
        Bson::String(text) => text.clone(),
        Bson::ObjectId(id) => id.to_hex(),
        Bson::Int32(number) => number.to_string(),
        Bson::Int64(number) => number.to_string(),
        Bson::Double(number) => number.to_string(),
        Bson::Decimal128(number) => plain(&number.to_string()),
        Bson::Binary(binary) => match Uuid::from_slice(&binary.bytes) {
            Ok(id) if UUIDS.contains(&binary.subtype) => id.to_string(),
            _ => value?.clone().into_canonical_extjson().to_string(),
        },
        Bson::Null | Bson::Undefined => return None,
        other => other.clone().into_canonical_extjson().to_string(),
    })
}

/// What drivers put UUIDs into.
const UUIDS: [BinarySubtype; 3] = [BinarySubtype::Uuid, BinarySubtype::UuidOld, BinarySubtype::Generic];

/// A decimal as the same number of another type is written: 7 for 7.00.
fn plain(decimal: &str) -> String {
    match decimal.contains('.') && !decimal.contains('E') {
        true => decimal.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => decimal.to_owned(),
    }
}

/// An id by which one record names another: a UUID is the same however it is written.
pub(super) fn reference(text: &str) -> String {
    uuid_of(text).map_or_else(|| text.to_owned(), |id| id.to_string())
}

/// Sorts records as they were made, where their `_id` says so: numbers, then ObjectIds, then texts, then the rest.
pub(super) fn order_of(record: &Document) -> Vec<u8> {
    let number = |number: i64| [&[0], (number as u64 ^ (1 << 63)).to_be_bytes().as_slice()].concat();
    match record.get("_id") {
        Some(Bson::Int32(id)) => number(i64::from(*id)),
        Some(Bson::Int64(id)) => number(*id),
        Some(Bson::ObjectId(id)) => [&[1], id.bytes().as_slice()].concat(),
        Some(Bson::String(id)) => [&[2], id.as_bytes()].concat(),
        Some(other) => {
            let bytes = mongodb::bson::to_vec(&doc! { "": other.clone() }).unwrap_or_default();
            [&[3], bytes.as_slice()].concat()
        }
        None => vec![4],
    }
}

/// When a record was made, in milliseconds, where its `_id` tells (to the second).
pub(super) fn made_at(record: &Document) -> Option<i64> {
    match record.get("_id") {
        Some(Bson::ObjectId(id)) => Some(id.timestamp().timestamp_millis()),
        _ => None,
    }
}

/// A record's place, for the report.
pub(super) fn place(collection: &str, record: &Document) -> String {
    match record.get("_id") {
        Some(id) => format!("{collection} {}", id_text(Some(id)).unwrap_or_else(|| id.to_string())),
        None => format!("{collection} without _id"),
    }
}

/// The UUID that a text is.
pub(super) fn uuid_of(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text).ok().filter(|id| !id.is_nil() && !id.is_max())
}

/// An id made from others: the same every time, another for every `kind`.
pub(super) fn derived(kind: &str, from: &[u8]) -> Uuid {
    let hash = Sha256::new().chain_update(b"natter adopts\0").chain_update(kind).chain_update([0]).chain_update(from);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    // Version 8: made by a rule of one's own.
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Binary, oid::ObjectId};

    use super::*;

    #[test]
    fn ids_of_every_type_become_text() {
        let id = Uuid::now_v7();
        let binary = |subtype| Bson::Binary(Binary { subtype, bytes: id.as_bytes().to_vec() });
        for (value, text) in [
            (Bson::String("a".into()), Some("a".to_owned())),
            (Bson::Int32(-7), Some("-7".into())),
            (Bson::Int64(7), Some("7".into())),
            (Bson::Double(7.0), Some("7".into())),
            (binary(BinarySubtype::Uuid), Some(id.to_string())),
            (binary(BinarySubtype::UuidOld), Some(id.to_string())),
            (binary(BinarySubtype::Generic), Some(id.to_string())),
            (binary(BinarySubtype::Md5), Some(binary(BinarySubtype::Md5).into_canonical_extjson().to_string())),
            (Bson::Double(7.5), Some("7.5".into())),
            (Bson::Decimal128("7.00".parse().unwrap()), Some("7".into())),
            (Bson::Decimal128("100".parse().unwrap()), Some("100".into())),
            (Bson::Boolean(true), Some("true".into())),
            (Bson::Document(doc! { "a": 1 }), Some(r#"{"a":{"$numberInt":"1"}}"#.into())),
            (Bson::Undefined, None),
            (Bson::Null, None),
        ] {
            assert_eq!(id_text(Some(&value)), text);
        }
        assert_eq!(id_text(None), None);
    }

    #[test]
    fn records_sort_in_the_order_of_their_making() {
        let old = ObjectId::parse_str("000000010000000000000000").unwrap();
        let new = ObjectId::parse_str("000000020000000000000000").unwrap();
        let ids = [Bson::Int32(-1), Bson::Int64(3), Bson::Int32(20), old.into(), new.into(), "a".into(), "b".into()];
        let orders: Vec<_> = ids.into_iter().map(|id| order_of(&doc! { "_id": id })).collect();
        assert!(orders.is_sorted(), "{orders:?}");
    }

    #[test]
    fn a_derived_id_is_the_same_every_time() {
        assert_eq!(derived("user", b"1"), derived("user", b"1"));
        assert_ne!(derived("user", b"1"), derived("chat", b"1"));
        assert_eq!(derived("user", b"1").get_version_num(), 8);
    }
}
