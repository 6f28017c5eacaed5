//! Conditions as they stand in a bundle.

use holdgate_protocol::{
    deserialize_from_json,
    json::{FromJson, Place, ShapeError, Variant},
};

use super::{
    Atom, Attribute, By, Comparison, Conditions, Expr, List, Literal, Order, Rate, Size, Source, Tag, Test, ValueTest,
};

deserialize_from_json!(Conditions, Expr, Atom, Attribute);

impl FromJson for Conditions {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [any, when] = place.members(&["any", "when"])?;
        Ok(Conditions {
            any: any.items()?.map(|entry| entry.list()).collect::<Result<_, _>>()?,
            when: when.optional()?,
        })
    }
}

impl FromJson for Expr {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        const FORMS: [Variant<Expr>; 4] = [
            ("all", |of| of.list().map(Expr::All)),
            ("any", |of| of.list().map(Expr::Any)),
            ("is", |of| of.read().map(Expr::Is)),
            ("is_not", |of| of.read().map(Expr::IsNot)),
        ];
        place.variant(&FORMS)
    }
}

impl FromJson for Atom {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        const FORMS: [Variant<Atom>; 4] = [
            ("value", |of| of.read().map(Atom::Value)),
            ("compare", |of| of.read().map(Atom::Compare)),
            ("rate", |of| of.read().map(Atom::Rate)),
            ("time", |of| of.read().map(Atom::Time)),
        ];
        place.variant(&FORMS)
    }
}

impl FromJson for ValueTest {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [of, is] = place.members(&["of", "is"])?;
        Ok(ValueTest { of: of.read()?, is: is.read()? })
    }
}

impl FromJson for Comparison {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        const ORDERS: [(&str, Order); 6] = [
            ("eq", Order::Eq),
            ("ne", Order::Ne),
            ("lt", Order::Lt),
            ("lte", Order::Lte),
            ("gt", Order::Gt),
            ("gte", Order::Gte),
        ];
        let [left, is, right] = place.members(&["left", "is", "right"])?;
        Ok(Comparison { left: left.read()?, is: is.word(&ORDERS)?, right: right.read()? })
    }
}

impl FromJson for Rate {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [over, per, by] = place.members(&["over", "per", "by"])?;
        let by = by.word(&[("agent", By::Agent), ("rule", By::Rule)])?;
        Ok(Rate { over: over.whole()?, per: per.whole()?, by, slot: 0 })
    }
}

impl FromJson for Attribute {
    /// Those that have no name of their own are words.
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        static WORDS: [(&str, Attribute); 9] = [
            ("method", Attribute::Method),
            ("host", Attribute::Host),
            ("path", Attribute::Path),
            ("agent", Attribute::Agent),
            ("agent_id", Attribute::AgentId),
            ("agent_issuer", Attribute::AgentIssuer),
            ("agent_owner", Attribute::AgentOwner),
            ("mcp_method", Attribute::McpMethod),
            ("mcp_tool", Attribute::McpTool),
        ];
        const FORMS: [Variant<Attribute>; 6] = [
            ("claim", |of| of.read().map(Attribute::Claim)),
            ("body", |of| of.read().map(Attribute::Body)),
            ("query", |of| of.read().map(Attribute::Query)),
            ("header", |of| of.read().map(Attribute::Header)),
            ("tag", |of| of.read().map(Attribute::Tag)),
            ("mcp_arg", |of| of.read().map(Attribute::McpArg)),
        ];
        if place.is_text() { place.word(&WORDS) } else { place.variant(&FORMS) }
    }
}

impl FromJson for Tag {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        const SOURCES: [Variant<Source>; 2] =
            [("header", |of| of.read().map(Source::Header)), ("claim", |of| of.read().map(Source::Claim))];
        let [name, source] = place.members(&["name", "source"])?;
        Ok(Tag { name: name.read()?, source: source.variant(&SOURCES)? })
    }
}

impl FromJson for Test {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        const FORMS: [Variant<Test>; 16] = [
            ("equals", |of| of.read().map(Test::Equals)),
            ("in", |of| of.read().map(Test::In)),
            ("not_in", |of| of.read().map(Test::NotIn)),
            ("exists", |of| of.flag().map(Test::Exists)),
            ("lt", |of| of.read().map(Test::Lt)),
            ("lte", |of| of.read().map(Test::Lte)),
            ("gt", |of| of.read().map(Test::Gt)),
            ("gte", |of| of.read().map(Test::Gte)),
            ("prefix", |of| of.read().map(Test::Prefix)),
            ("suffix", |of| of.read().map(Test::Suffix)),
            ("contains", |of| of.read().map(Test::Contains)),
            ("matches", |of| of.read().map(Test::Matches)),
            ("glob", |of| of.read().map(Test::Glob)),
            ("template", |of| of.read().map(Test::Template)),
            ("size", |of| of.read().map(Test::Size)),
            ("includes", |of| of.read().map(Test::Includes)),
        ];
        place.variant(&FORMS)
    }
}

impl FromJson for Size {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [min, max] = place.members(&["min", "max"])?;
        Ok(Size { min: min.whole()?, max: max.given().map(Place::whole).transpose()? })
    }
}

impl FromJson for Literal {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        const FORMS: [Variant<Literal>; 3] = [
            ("string", |of| of.read().map(Literal::String)),
            ("number", |of| of.read().map(Literal::Number)),
            ("bool", |of| of.flag().map(Literal::Bool)),
        ];
        place.variant(&FORMS)
    }
}

impl FromJson for List {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        const FORMS: [Variant<List>; 2] =
            [("strings", |of| of.list().map(List::Strings)), ("numbers", |of| of.list().map(List::Numbers))];
        place.variant(&FORMS)
    }
}
