//! Form bodies: urlencoded or multipart, read whole and bounded already.

use super::respond::{Rejection, field_error};
use bytes::Bytes;

#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    pub fn urlencoded(body: &[u8]) -> Self {
        Self { fields: form_urlencoded::parse(body).into_owned().collect() }
    }

    pub async fn multipart(body: Bytes, boundary: String) -> Result<Self, multer::Error> {
        let body = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
        let mut parts = multer::Multipart::new(body, boundary);
        let mut fields = Vec::new();
        while let Some(part) = parts.next_field().await? {
            let name = part.name().unwrap_or_default().to_owned();
            fields.push((name, part.text().await?));
        }
        Ok(Self { fields })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All of `names`, or 422 with every one that is missing.
    pub fn require<const N: usize>(&self, names: [&str; N]) -> Result<[String; N], Rejection> {
        let missing = names.iter().filter(|name| self.get(name).is_none());
        let missing: Vec<_> = missing.map(|name| field_error("missing", ["body", name], "Field required")).collect();
        if missing.is_empty() {
            Ok(names.map(|name| self.get(name).unwrap_or_default().to_owned()))
        } else {
            Err(Rejection::invalid_fields(missing))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn urlencoded_fields_are_decoded() {
        let form = Form::urlencoded("username=ann+lee&password=%C3%A9%26%3D&empty=".as_bytes());
        assert_eq!(form.get("username"), Some("ann lee"));
        assert_eq!(form.get("password"), Some("é&="));
        assert_eq!(form.get("empty"), Some(""));
        assert_eq!(form.get("other"), None);
    }

    #[tokio::test]
    async fn multipart_fields_are_read() {
        let body = "--b\r\ncontent-disposition: form-data; name=\"username\"\r\n\r\nann\r\n\
                    --b\r\ncontent-disposition: form-data; name=\"password\"\r\n\r\na\r\nb\r\n--b--\r\n";
        let form = Form::multipart(body.into(), "b".into()).await.unwrap();
        assert_eq!(form.require(["username", "password"]).unwrap(), ["ann", "a\r\nb"]);
        assert!(Form::multipart("--b\r\nnonsense".into(), "b".into()).await.is_err());
    }

    #[test]
    fn every_missing_field_is_named() {
        let rejection = Form::urlencoded(b"x=1").require(["username", "password"]).unwrap_err();
        let fields = rejection.detail.as_array().unwrap();
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[1], json!({ "type": "missing", "loc": ["body", "password"], "msg": "Field required" }));
    }
}
