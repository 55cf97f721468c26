//! The shapes of everything that goes over the wire, gathered from the code's own types.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::protocol::EventBody;

/// The `components.schemas` of a document. What is added is referred to by name.
#[derive(Default)]
pub struct Schemas(BTreeMap<String, Value>);

/// Adds what a body is made of, and gives its schema.
pub type Shape = fn(&mut Schemas) -> Value;

impl Schemas {
    /// The type by its name, with every type that it names.
    pub fn add<T: ToSchema>(&mut self) -> Value {
        self.add_parts::<T>();
        let name = T::name();
        self.0.insert(name.clone().into_owned(), value(&T::schema()));
        reference(&name)
    }

    pub fn list<T: ToSchema>(&mut self) -> Value {
        json!({ "type": "array", "items": self.add::<T>() })
    }

    /// The variants of an enum that is told apart by `type`, each under a name of its own: the type and the schema of each.
    pub fn variants<T: ToSchema>(&mut self, name: impl Fn(&str) -> String) -> Vec<(String, Value)> {
        self.add_parts::<T>();
        let whole = value(&T::schema());
        let variants = whole["oneOf"].as_array().cloned().unwrap_or_default();
        variants.into_iter().map(|variant| self.variant(variant, &name)).collect()
    }

    /// The events of a log, each under its own name, and any of them as one.
    pub fn event(&mut self) -> Value {
        let variants = self.variants::<EventBody>(|kind| capitalized(kind) + "Event");
        let mapping: Map<String, Value> =
            variants.iter().map(|(kind, schema)| (kind.clone(), schema["$ref"].clone())).collect();
        let variants: Vec<Value> = variants.into_iter().map(|(_, schema)| schema).collect();
        let about = "An event of a chat's log. More types will come; a client passes over those that it does not know.";
        let discriminator = json!({ "propertyName": "type", "mapping": mapping });
        self.put("Event", json!({ "description": about, "oneOf": variants, "discriminator": discriminator }))
    }

    fn variant(&mut self, mut variant: Value, name: &impl Fn(&str) -> String) -> (String, Value) {
        let kind = variant["properties"]["type"]["enum"][0].as_str().unwrap_or_default().to_owned();
        variant["properties"]["type"] = json!({ "const": kind });
        let name = name(&kind);
        let schema = self.put(&name, variant);
        (kind, schema)
    }

    /// A schema of our own making.
    pub fn put(&mut self, name: &str, schema: Value) -> Value {
        self.0.insert(name.to_owned(), schema);
        reference(name)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.get_mut(name)
    }

    pub fn into_value(self) -> Value {
        json!(self.0)
    }

    fn add_parts<T: ToSchema>(&mut self) {
        let mut parts: Vec<(String, RefOr<Schema>)> = Vec::new();
        T::schemas(&mut parts);
        let parts = parts.into_iter().filter(|(name, _)| name != "u64");
        self.0.extend(parts.map(|(name, schema)| (name, value(&schema))));
    }
}

/// `message` as `Message`.
pub fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(1.min(word.len()));
    first.to_uppercase() + rest
}

pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A seq is a number like another: an alias of a number needs no name of its own.
fn value(schema: &impl Serialize) -> Value {
    let mut schema = serde_json::to_value(schema).expect("a schema is plain data with text keys");
    inline_numbers(&mut schema);
    schema
}

fn inline_numbers(schema: &mut Value) {
    if schema["$ref"] == "#/components/schemas/u64"
        && let Some(fields) = schema.as_object_mut()
    {
        fields.remove("$ref");
        let bounds = [("type", json!("integer")), ("minimum", json!(0)), ("maximum", json!(u64::MAX))];
        fields.extend(bounds.map(|(name, value)| (name.to_owned(), value)));
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(inline_numbers),
        Value::Array(items) => items.iter_mut().for_each(inline_numbers),
        _ => {}
    }
}
