//! A strict reading of JSON: a member that occurs twice is an error, at every depth.
//!
//! `serde_json` on its own keeps the last of two equal members, while other libraries keep the first. A token that two
//! readers understand differently is a classic way past a check, so it is refused here. Accessors say *missing* and
//! *of the wrong type* apart: a wrong type must never pass for "absent" (CVE-2026-25537).
//!
//! What may go wrong: depth and size. `serde_json` stops at 128 levels, and every caller bounds the bytes first.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// A JSON value without duplicate members. Only what claims and keys need is told apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// A number written as an integer that fits.
    Integer(i64),
    /// Any other number: no claim has one.
    OtherNumber,
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// The members of an object, each of them once.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Object(BTreeMap<String, Json>);

/// Why a text is not the JSON object that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum JsonError {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("a member occurs twice")]
    DuplicateMember,
}

/// Why a member cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberError {
    Missing,
    WrongType,
}

impl Object {
    /// Reads exactly one object and nothing after it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Strict.deserialize(&mut reader).map_err(|error| match error.classify() {
            // `Strict` raises a data error for one thing only.
            serde_json::error::Category::Data => JsonError::DuplicateMember,
            _ => JsonError::NotAnObject,
        })?;
        reader.end().map_err(|_| JsonError::NotAnObject)?;
        match value {
            Json::Object(object) => Ok(object),
            _ => Err(JsonError::NotAnObject),
        }
    }

    /// The member, whatever its type.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// Whether the member is there at all, even as `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text that must be there.
    pub(super) fn text(&self, name: &str) -> Result<&str, MemberError> {
        self.optional_text(name)?.ok_or(MemberError::Missing)
    }

    /// A text that may be absent; `null` is not absence.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&str>, MemberError> {
        self.get(name).map(Json::text).transpose()
    }

    /// An integer that must be there.
    pub(super) fn integer(&self, name: &str) -> Result<i64, MemberError> {
        match self.get(name) {
            None => Err(MemberError::Missing),
            Some(Json::Integer(number)) => Ok(*number),
            Some(_) => Err(MemberError::WrongType),
        }
    }

    /// A truth value that must be there.
    pub(super) fn truth(&self, name: &str) -> Result<bool, MemberError> {
        match self.get(name) {
            None => Err(MemberError::Missing),
            Some(Json::Bool(value)) => Ok(*value),
            Some(_) => Err(MemberError::WrongType),
        }
    }

    /// A list of texts that may be absent.
    pub(super) fn optional_texts(&self, name: &str) -> Result<Option<Vec<&str>>, MemberError> {
        self.get(name).map(Json::texts).transpose()
    }

    /// The member at the end of a way through objects. Something else than an object on the way is a wrong type, not
    /// absence.
    pub(super) fn find(&self, steps: &[String]) -> Result<Option<&Json>, MemberError> {
        let Some((last, way)) = steps.split_last() else { return Ok(None) };
        let mut object = self;
        for step in way {
            object = match object.get(step) {
                None => return Ok(None),
                Some(Json::Object(inner)) => inner,
                Some(_) => return Err(MemberError::WrongType),
            };
        }
        Ok(object.get(last))
    }
}

impl Json {
    /// A text.
    pub(super) fn text(&self) -> Result<&str, MemberError> {
        match self {
            Json::Text(text) => Ok(text),
            _ => Err(MemberError::WrongType),
        }
    }

    /// A list of texts and of nothing else.
    pub(super) fn texts(&self) -> Result<Vec<&str>, MemberError> {
        match self {
            Json::List(items) => items.iter().map(Json::text).collect(),
            _ => Err(MemberError::WrongType),
        }
    }
}

/// Builds a [`Json`] and stops at the first duplicate member.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::OtherNumber, Json::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Strict)?;
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("duplicate member"));
            }
        }
        Ok(Json::Object(Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_twice_is_refused_at_every_depth_and_in_every_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"b":{},"a":2}]}"#,
        ] {
            assert_eq!(Object::parse(text.as_bytes()), Err(JsonError::DuplicateMember), "{text}");
        }
    }

    #[test]
    fn only_one_whole_object_is_read() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        for text in
            ["", "[]", "1", "{}{}", "{} x", "{", "{\"a\":}", "\u{feff}{}", "{'a':1}", "{\"a\":1,}", &deep]
        {
            assert_eq!(Object::parse(text.as_bytes()), Err(JsonError::NotAnObject), "{text}");
        }
        assert_eq!(Object::parse(b"{\"a\":\"\xff\"}"), Err(JsonError::NotAnObject));
        assert!(Object::parse(b" { \"a\" : [ null , true ] } \n").is_ok());
    }

    #[test]
    fn missing_and_mistyped_are_told_apart() {
        let text =
            br#"{"t":"x","i":5,"f":5.0,"e":1e9,"big":18446744073709551615,"n":null,"l":["a"],"m":["a",1]}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.text("t"), Ok("x"));
        assert_eq!(object.text("none"), Err(MemberError::Missing));
        assert_eq!(object.optional_text("none"), Ok(None));
        assert_eq!(object.optional_text("n"), Err(MemberError::WrongType), "null is not absence");
        assert_eq!(object.integer("i"), Ok(5));
        for name in ["f", "e", "big", "t", "n"] {
            assert_eq!(object.integer(name), Err(MemberError::WrongType), "{name}");
        }
        assert_eq!(object.optional_texts("l"), Ok(Some(vec!["a"])));
        assert_eq!(object.optional_texts("m"), Err(MemberError::WrongType));
        assert_eq!(object.optional_texts("t"), Err(MemberError::WrongType));
    }

    #[test]
    fn a_way_through_objects_tells_missing_and_mistyped_apart() {
        let object = Object::parse(br#"{"a":{"b":{"c":"x"},"n":null,"t":"y"},"a/b":1}"#).unwrap();
        let find = |way: &str| object.find(&way.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(find("a b c"), Ok(Some(&Json::Text("x".into()))));
        assert_eq!(find("a/b"), Ok(Some(&Json::Integer(1))));
        assert_eq!(find("a n"), Ok(Some(&Json::Null)));
        for absent in ["x", "x y", "a x", "a b x", "a b c2"] {
            assert_eq!(find(absent), Ok(None), "{absent}");
        }
        for mistyped in ["a t x", "a n x", "a b c x", "a/b x"] {
            assert_eq!(find(mistyped), Err(MemberError::WrongType), "{mistyped}");
        }
        assert_eq!(object.find(&[]), Ok(None));
    }
}
