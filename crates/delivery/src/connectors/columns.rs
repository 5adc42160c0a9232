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

/// What stands in a column of one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    /// A text, or a value as JSON.
    Text(ByteArray),
    /// An integer, or a time in milliseconds since 1970.
    Whole(i64),
    Number(f64),
    Yes(bool),
}

impl Cell {
    /// A value as its column takes it; null where it is of another type.
    pub(super) fn of(kind: ColumnType, value: &Value) -> Self {
        match kind {
            _ if value.is_null() => Some(Self::Null),
            ColumnType::Text => match value {
                Value::String(text) => Some(Self::Text(text.as_str().into())),
                value => Some(Self::json(value.to_string())),
            },
            ColumnType::Json => Some(Self::json(value.to_string())),
            ColumnType::Time => time(value).map(Self::Whole),
            ColumnType::Integer => value.as_i64().map(Self::Whole),
            ColumnType::Number => value.as_f64().map(Self::Number),
            ColumnType::Boolean => value.as_bool().map(Self::Yes),
        }
        .unwrap_or(Self::Null)
    }

    /// A value that stands there as JSON already.
    pub(super) fn json(text: String) -> Self {
        Self::Text(text.into_bytes().into())
    }

    /// Bytes that it takes, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + 4,
            _ => 8,
        }
    }

    const fn whole(&self) -> Option<i64> {
        if let Self::Whole(whole) = self { Some(*whole) } else { None }
    }
}

/// The rows of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    /// As many cells as there are columns.
    pub(crate) cells: Vec<Vec<Cell>>,
}

impl Rows {
    pub(crate) const fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// By which the same rows are known again.
    pub(super) fn digested(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for cell in self.cells.iter().flatten() {
            match cell {
                Cell::Null => bytes.push(0),
                Cell::Text(text) => {
                    bytes.push(1);
                    bytes.extend((text.len() as u64).to_be_bytes());
                    bytes.extend(text.data());
                }
                Cell::Whole(whole) => {
                    bytes.push(2);
                    bytes.extend(whole.to_be_bytes());
                }
                Cell::Number(number) => {
                    bytes.push(3);
                    bytes.extend(number.to_bits().to_be_bytes());
                }
                Cell::Yes(yes) => bytes.extend([4, u8::from(*yes)]),
            }
        }
        bytes
    }

    /// As lines of JSON, for people to look at.
    pub(super) fn lines(&self) -> String {
        let field = |(column, cell): (&Column, &Cell)| {
            let text = |text: &ByteArray| String::from_utf8_lossy(text.data()).into_owned();
            let value = match cell {
                Cell::Null => return None,
                Cell::Text(of) if column.kind == ColumnType::Json => serde_json::from_str(&text(of)).ok()?,
                Cell::Text(of) => Value::String(text(of)),
                Cell::Whole(millis) if column.kind == ColumnType::Time => {
                    Value::String(Timestamp::from_millis(*millis).to_string())
                }
                Cell::Whole(whole) => Value::from(*whole),
                Cell::Number(number) => Value::from(*number),
                Cell::Yes(yes) => Value::Bool(*yes),
            };
            Some((column.name.clone(), value))
        };
        let line = |cells: &Vec<Cell>| {
            let fields = self.columns.iter().zip(cells).filter_map(field);
            format!("{}\n", Value::Object(fields.collect()))
        };
        self.cells.iter().map(line).collect()
    }

    /// The file, of one row group: a batch is bounded by its manifest.
    pub(super) fn file(&self) -> Result<Vec<u8>> {
        let columns = &self.columns;
        let mut writer = SerializedFileWriter::new(Vec::new(), schema(columns)?, properties(columns)?)?;
        let mut group = writer.next_row_group()?;
        for (at, column) in columns.iter().enumerate() {
            // The schema has as many.
            let Some(mut into) = group.next_column()? else { break };
            let cells = self.cells.iter().map(|row| row.get(at).unwrap_or(&Cell::Null));
            match column.kind {
                ColumnType::Text | ColumnType::Json => write::<ByteArrayType>(
                    &mut into,
                    cells.map(|cell| if let Cell::Text(text) = cell { Some(text.clone()) } else { None }),
                ),
                ColumnType::Time | ColumnType::Integer => write::<Int64Type>(&mut into, cells.map(Cell::whole)),
                ColumnType::Number => write::<DoubleType>(
                    &mut into,
                    cells.map(|cell| if let Cell::Number(number) = cell { Some(*number) } else { None }),
                ),
                ColumnType::Boolean => write::<BoolType>(
                    &mut into,
                    cells.map(|cell| if let Cell::Yes(yes) = cell { Some(*yes) } else { None }),
                ),
            }?;
            into.close()?;
        }
        group.close()?;
        writer.into_inner()
    }
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
        let cells = |item: &serde_json::Value| {
            columns.iter().map(|column| Cell::of(column.kind, &item[&column.name])).collect::<Vec<_>>()
        };
        let rows = Rows { columns: columns.to_vec(), cells: items.iter().map(cells).collect() };
        let bytes = rows.file().unwrap();
        assert_eq!(bytes, rows.file().unwrap());
        let line = r#"{"id":"a","time":"2026-11-23T18:00:00.123Z","many":3,"price":1.5,"yes":true,"all":{"ü":[1]}}"#;
        assert_eq!(rows.lines(), format!("{line}\n{{\"id\":\"7\",\"all\":\"b\"}}\n{{}}\n"));
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
