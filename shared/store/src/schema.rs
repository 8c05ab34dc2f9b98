//! The table's definition, as the local system creates it and as the deployed one must have it.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};

use crate::keys::{DUE_AT, DUE_INDEX, DUE_SHARD, EXPIRES_AT, LIST_INDEX, LIST_PK, LIST_SK, PK, SK};
use crate::{Error, Table};

/// A hash and a range key, by attribute name.
type KeyPair = (&'static str, &'static str);

/// The keys and indexes of the table.
#[derive(Debug)]
pub struct TableDefinition {
    pub key: KeyPair,
    pub attributes: [(&'static str, &'static str); 6],
    /// Keys only, each of them.
    pub indexes: [(&'static str, KeyPair); 2],
    pub time_to_live: &'static str,
}

pub const TABLE: TableDefinition = TableDefinition {
    key: (PK, SK),
    attributes: [(PK, "S"), (SK, "S"), (DUE_SHARD, "S"), (DUE_AT, "N"), (LIST_PK, "S"), (LIST_SK, "S")],
    indexes: [(DUE_INDEX, (DUE_SHARD, DUE_AT)), (LIST_INDEX, (LIST_PK, LIST_SK))],
    time_to_live: EXPIRES_AT,
};

impl Table {
    /// Creates the table unless it exists.
    pub async fn create_table(&self) -> Result<(), Error> {
        let built = |source: BuildError| Error::Refused(Box::new(source));
        let mut request = self.client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in TABLE.attributes {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            let attribute = attribute.attribute_type(ScalarAttributeType::from(kind)).build().map_err(built)?;
            request = request.attribute_definitions(attribute);
        }
        for element in key_schema(TABLE.key).map_err(built)? {
            request = request.key_schema(element);
        }
        for (name, key) in TABLE.indexes {
            let index = GlobalSecondaryIndex::builder()
                .index_name(name)
                .set_key_schema(Some(key_schema(key).map_err(built)?.into()))
                .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
                .build()
                .map_err(built)?;
            request = request.global_secondary_indexes(index);
        }
        let existed = match request.send().await {
            Ok(_) => false,
            Err(error) if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => true,
            Err(error) => return Err(error.into()),
        };
        let expiry = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(TABLE.time_to_live)
            .build()
            .map_err(built)?;
        let sent = self.client.update_time_to_live().table_name(&self.name).time_to_live_specification(expiry).send();
        match sent.await {
            Ok(_) => Ok(()),
            // It is on already, unless a start died between the two calls.
            Err(_) if existed => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn key_schema((hash, range): KeyPair) -> Result<[KeySchemaElement; 2], BuildError> {
    Ok([
        KeySchemaElement::builder().attribute_name(hash).key_type(KeyType::Hash).build()?,
        KeySchemaElement::builder().attribute_name(range).key_type(KeyType::Range).build()?,
    ])
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const TEMPLATE: &str = include_str!("../../../template.yaml");

    /// The definition as `template.yaml` writes it.
    fn as_in_the_template() -> String {
        let mut text = String::new();
        let key = |text: &mut String, indent: &str, (hash, range): KeyPair| {
            writeln!(text, "{indent}KeySchema:").unwrap();
            writeln!(text, "{indent}  - {{AttributeName: {hash}, KeyType: HASH}}").unwrap();
            writeln!(text, "{indent}  - {{AttributeName: {range}, KeyType: RANGE}}").unwrap();
        };
        writeln!(text, "      TimeToLiveSpecification:").unwrap();
        writeln!(text, "        AttributeName: {}", TABLE.time_to_live).unwrap();
        writeln!(text, "        Enabled: true").unwrap();
        writeln!(text, "      AttributeDefinitions:").unwrap();
        for (name, kind) in TABLE.attributes {
            writeln!(text, "        - {{AttributeName: {name}, AttributeType: {kind}}}").unwrap();
        }
        key(&mut text, "      ", TABLE.key);
        writeln!(text, "      GlobalSecondaryIndexes:").unwrap();
        for (name, pair) in TABLE.indexes {
            writeln!(text, "        - IndexName: {name}").unwrap();
            key(&mut text, "          ", pair);
            writeln!(text, "          Projection: {{ProjectionType: KEYS_ONLY}}").unwrap();
        }
        text
    }

    #[test]
    fn the_template_has_the_same_table() {
        let (_, table) = TEMPLATE.split_once("\n  Table:\n").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let start = table.find("      TimeToLiveSpecification:").unwrap();
        let found = format!("{}\n", &table[start..]);
        assert_eq!(found, as_in_the_template(), "template.yaml must end its table with this");
        assert!(table[..start].contains("BillingMode: PAY_PER_REQUEST"));
    }
}
