//! Items as a Parquet file: a column for each field that the manifest names and for each field of a person's own; the same items give the same bytes.

use std::sync::Arc;

use convizit_model::Timestamp;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use serde_json::Value;

use super::manifest::{Column, ColumnType};
use crate::mapping::Directive;

/// The columns of a manifest, and behind them one of text for each field of a person's own that is none of them.
pub(super) fn with_own(columns: &[Column], set: &[(String, Directive)]) -> Vec<Column> {
    let mut all = columns.to_vec();
    if columns.is_empty() {
        return all;
    }
    for (field, _) in set {
        let name = field.split('.').next().unwrap_or(field);
        if !all.iter().any(|column| column.name == name) {
            all.push(Column { name: name.to_owned(), kind: ColumnType::Text });
        }
    }
    all
}

/// How many fields of an item are null in its row, since they are of another type than their column.
pub(super) fn misfits(columns: &[Column], item: &Value) -> usize {
    let misses = |column: &&Column| {
        let value = &item[&column.name];
        !value.is_null()
            && match column.kind {
                ColumnType::Text | ColumnType::Json => false,
                ColumnType::Time => time(value).is_none(),
                ColumnType::Integer => value.as_i64().is_none(),
                ColumnType::Number => value.as_f64().is_none(),
                ColumnType::Boolean => value.as_bool().is_none(),
            }
    };
    columns.iter().filter(misses).count()
}

/// The file, of one row group: a batch is bounded by its manifest.
pub(super) fn file(columns: &[Column], items: &[Value]) -> Result<Vec<u8>> {
    let mut writer = SerializedFileWriter::new(Vec::new(), schema(columns)?, properties(columns)?)?;
    let mut group = writer.next_row_group()?;
    for column in columns {
        // The schema has as many.
        let Some(mut into) = group.next_column()? else { break };
        let values = items.iter().map(|item| &item[&column.name]);
        match column.kind {
            ColumnType::Text => write::<ByteArrayType>(&mut into, values.map(text)),
            ColumnType::Json => write::<ByteArrayType>(&mut into, values.map(json)),
            ColumnType::Time => write::<Int64Type>(&mut into, values.map(time)),
            ColumnType::Integer => write::<Int64Type>(&mut into, values.map(Value::as_i64)),
            ColumnType::Number => write::<DoubleType>(&mut into, values.map(Value::as_f64)),
            ColumnType::Boolean => write::<BoolType>(&mut into, values.map(Value::as_bool)),
        }?;
        into.close()?;
    }
    group.close()?;
    writer.into_inner()
}

fn schema(columns: &[Column]) -> Result<TypePtr> {
    let fields = columns.iter().map(|column| {
        let (physical, logical) = match column.kind {
            ColumnType::Text | ColumnType::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnType::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
            ColumnType::Integer => (Physical::INT64, None),
            ColumnType::Number => (Physical::DOUBLE, None),
            ColumnType::Boolean => (Physical::BOOLEAN, None),
        };
        let of = Type::primitive_type_builder(&column.name, physical).with_logical_type(logical);
        of.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
    });
    Ok(Arc::new(Type::group_type_builder("event").with_fields(fields.collect::<Result<_>>()?).build()?))
}

fn properties(columns: &[Column]) -> Result<WriterPropertiesPtr> {
    let mut properties = WriterProperties::builder()
        // Not the library's version: an update changes no object that is tried again.
        .set_created_by("convizit".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?));
    // What is different in each row gains nothing by a dictionary.
    let different = |column: &&Column| column.kind == ColumnType::Json || column.name == "id";
    for column in columns.iter().filter(different) {
        let path = ColumnPath::new(vec![column.name.clone()]);
        properties = properties.set_column_dictionary_enabled(path, false);
    }
    Ok(Arc::new(properties.build()))
}

fn write<T: DataType>(into: &mut SerializedColumnWriter<'_>, values: impl Iterator<Item = Option<T::T>>) -> Result<()> {
    let (mut there, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        there.extend(value);
    }
    into.typed::<T>().write_batch(&there, Some(&levels), None)?;
    Ok(())
}

fn text(value: &Value) -> Option<ByteArray> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        value => json(value),
    }
}

fn json(value: &Value) -> Option<ByteArray> {
    (!value.is_null()).then(|| value.to_string().into_bytes().into())
}

fn time(value: &Value) -> Option<i64> {
    value.as_str().and_then(|text| text.parse().ok()).map(Timestamp::as_millis)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Row;
    use serde_json::json;

    use super::*;

    fn column(name: &str, kind: ColumnType) -> Column {
        Column { name: name.to_owned(), kind }
    }

    #[test]
    fn the_same_items_give_the_same_bytes_and_what_fits_no_column_is_null_and_counted() {
        let columns = [
            column("id", ColumnType::Text),
            column("time", ColumnType::Time),
            column("many", ColumnType::Integer),
            column("price", ColumnType::Number),
            column("yes", ColumnType::Boolean),
            column("all", ColumnType::Json),
        ];
        let right = json!({"id": "a", "time": "2026-11-23T18:00:00.123Z", "many": 3, "price": 1.5, "yes": true, "all": {"ü": [1]}});
        let wrong = json!({"id": 7, "time": "soon", "many": 1.5, "price": "1", "yes": "no", "all": "b", "other": 1});
        let items = [right, wrong, json!({})];
        assert_eq!(items.each_ref().map(|item| misfits(&columns, item)), [0, 4, 0]);
        let bytes = file(&columns, &items).unwrap();
        assert_eq!(bytes, file(&columns, &items).unwrap());
        let mut of = tempfile::tempfile().unwrap();
        of.write_all(&bytes).unwrap();
        let reader = SerializedFileReader::new(of).unwrap();
        let row = |row: Row| row.get_column_iter().map(|(_, field)| field.to_string()).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = reader.get_row_iter(None).unwrap().map(|of| row(of.unwrap())).collect();
        let null = "null";
        assert_eq!(rows[0], ["\"a\"", "2026-11-23 18:00:00.123 +00:00", "3", "1.5", "true", "\"{\"ü\":[1]}\""]);
        assert_eq!(rows[1], ["\"7\"", null, null, null, null, "\"\"b\"\""]);
        assert_eq!((rows[2].as_slice(), rows.len()), ([null; 6].map(str::to_owned).as_slice(), 3));
    }

    #[test]
    fn fields_of_a_persons_own_are_columns_of_text_behind_the_others() {
        let columns = [column("id", ColumnType::Text), column("properties", ColumnType::Json)];
        let set: Vec<(String, Directive)> = ["Shop.Name", "properties.Shop", "Shop.Place", "id"]
            .into_iter()
            .map(|field| (field.to_owned(), Directive::compile(&json!("$.project")).unwrap()))
            .collect();
        let names: Vec<String> = with_own(&columns, &set).into_iter().map(|column| column.name).collect();
        assert_eq!(names, ["id", "properties", "Shop"]);
        assert_eq!(with_own(&[], &set), []);
    }
}
