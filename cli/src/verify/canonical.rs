//! One text for each value, in the SQL of PostgreSQL and in that of DuckDB: equal values have equal
//! texts, and only those. Both servers hash it, so that no code of ours touches the values.
//!
//! Where the two show a value in different ways, the text is a whole number or the bits: a date is
//! its day, a time its microseconds, a number with a floating point its bits.

use inlet_model::{Column, ColumnType, Scalar};

/// The text of a null value: no value's text is this one.
const NULL: &str = "'N'";

/// A column in both languages; SQL NULL is null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    pub postgres: String,
    pub duckdb: String,
    /// What DuckDB shows of the value, in UTC as PostgreSQL does.
    pub shown_by_duckdb: String,
    /// True if the text may hold any characters, a comma too.
    is_free: bool,
    /// True if PostgreSQL has to convert the text to UTF-8 before it is measured.
    is_converted: bool,
}

impl Canonical {
    /// The text of a column, from expressions that give its value. `is_converted` is true for a
    /// database whose texts are not in UTF-8.
    pub fn of(column: &Column, postgres: &str, duckdb: &str, is_converted: bool) -> Self {
        match column.column_type {
            ColumnType::Scalar(scalar) => Self {
                is_converted,
                ..of_scalar(scalar, column, postgres, duckdb)
            },
            ColumnType::List(element) => of_list(element, column, postgres, duckdb, is_converted),
        }
    }

    /// The text as a part of a longer one. Where it may hold any characters, its length in bytes
    /// goes before it.
    fn part(&self) -> [String; 2] {
        let length = match self.is_converted {
            true => format!("octet_length(convert_to({}, 'UTF8'))", self.postgres),
            false => format!("octet_length({})", self.postgres),
        };
        let sides = [
            (&self.postgres, length),
            (&self.duckdb, format!("strlen({})", self.duckdb)),
        ];
        sides.map(|(text, length)| {
            if self.is_free {
                format!("coalesce({length} || ':' || ({text}), {NULL})")
            } else {
                format!("coalesce({text}, {NULL})")
            }
        })
    }
}

/// The texts of several columns as one, of PostgreSQL and of DuckDB.
pub fn joined<'a>(columns: impl IntoIterator<Item = &'a Canonical>) -> [String; 2] {
    let parts: Vec<_> = columns.into_iter().map(Canonical::part).collect();
    [0, 1].map(|side| {
        let parts: Vec<_> = parts.iter().map(|part| part[side].as_str()).collect();
        concatenated(&parts)
    })
}

/// Both servers bound the depth of an expression, and a table may have 1600 columns: so the parts
/// are a tree of equal halves.
fn concatenated(parts: &[&str]) -> String {
    match parts {
        [] => "''".to_owned(),
        [part] => (*part).to_owned(),
        _ => {
            let (first, second) = parts.split_at(parts.len() / 2);
            format!(
                "({} || ',' || {})",
                concatenated(first),
                concatenated(second)
            )
        }
    }
}

fn of_scalar(scalar: Scalar, column: &Column, postgres: &str, duckdb: &str) -> Canonical {
    let (p, d) = (postgres, duckdb);
    let (postgres, duckdb, is_free) = match scalar {
        Scalar::Bool | Scalar::Int16 | Scalar::Int32 | Scalar::Int64 | Scalar::Oid => {
            (format!("({p})::text"), format!("({d})::VARCHAR"), false)
        }
        Scalar::Uuid => (format!("({p})::text"), format!("({d})::VARCHAR"), false),
        Scalar::Float32 => float(p, d, "float4send", 32),
        Scalar::Float64 => float(p, d, "float8send", 64),
        Scalar::Decimal { precision, scale } => {
            let text = format!("({d})::VARCHAR");
            // Without digits before the point DuckDB shows `.5` where PostgreSQL shows `0.5`.
            let has_no_whole = i16::from(precision) == i16::from(scale) && precision <= 38;
            let text = match has_no_whole {
                true => format!("replace({text}, '.', '0.')"),
                false => text,
            };
            // The lake has no NaN and no infinity: such a value is null there, or in quarantine.
            let finite = format!("CASE WHEN ({p}) - ({p}) = 0 THEN ({p})::text END");
            (finite, text, false)
        }
        Scalar::Text if column.as_text || is_plain_text(&column.postgres_type) => {
            (format!("({p})::text"), format!("({d})::VARCHAR"), true)
        }
        // A cast of `char(n)` cuts off its blanks; the output function shows them.
        Scalar::Text => (
            format!("CASE WHEN ({p}) IS NOT NULL THEN format('%s', {p}) END"),
            format!("({d})::VARCHAR"),
            true,
        ),
        Scalar::Json => (json(p), format!("({d})::VARCHAR"), true),
        Scalar::Bytes => (
            format!("encode({p}, 'hex')"),
            format!("lower(hex({d}))"),
            false,
        ),
        Scalar::Date => (
            format!("CASE WHEN isfinite({p}) THEN (({p}) - DATE '1970-01-01')::text END"),
            format!("date_diff('day', DATE '1970-01-01', {d})::VARCHAR"),
            false,
        ),
        Scalar::Time => (
            // 24:00 is no time of Parquet.
            format!(
                "nullif({}, 86400000000)::text",
                bigint(&format!("time_send({p})"))
            ),
            format!("epoch_us({d})::VARCHAR"),
            false,
        ),
        Scalar::Timestamp => moment(p, d, "timestamp_send"),
        Scalar::TimestampTz => moment(p, d, "timestamptz_send"),
    };
    let shown_by_duckdb = match scalar {
        Scalar::TimestampTz => format!("(({d}) AT TIME ZONE 'UTC')::VARCHAR || '+00'"),
        _ => format!("({d})::VARCHAR"),
    };
    Canonical {
        postgres,
        duckdb,
        shown_by_duckdb,
        is_free,
        is_converted: false,
    }
}

fn is_plain_text(postgres_type: &str) -> bool {
    postgres_type == "text" || postgres_type.starts_with("character varying")
}

/// The bits; every zero is one value to PostgreSQL, and so is every NaN.
fn float(p: &str, d: &str, send: &str, bits: u8) -> (String, String, bool) {
    (
        format!(
            "CASE WHEN ({p}) = 'NaN' THEN 'NaN' WHEN ({p}) = 0 THEN '0' ELSE ('x' || \
             encode({send}({p}), 'hex'))::bit({bits})::text END"
        ),
        format!(
            "CASE WHEN isnan({d}) THEN 'NaN' WHEN ({d}) = 0 THEN '0' ELSE ({d})::BIT::VARCHAR END"
        ),
        false,
    )
}

/// The text of a document. Half a surrogate pair is no character: no reader takes such a document,
/// so it is null in the lake, or in quarantine.
fn json(p: &str) -> String {
    let surrogate = r"\\u[dD][89a-fA-F]";
    let pair = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}";
    // A backslash that is escaped itself begins no escape, so these go first.
    let without_pairs =
        format!(r"regexp_replace(regexp_replace(({p})::text, '\\\\', '', 'g'), '{pair}', '', 'g')");
    format!(
        "CASE WHEN ({p})::text !~ '{surrogate}' OR {without_pairs} !~ '{surrogate}' THEN \
         ({p})::text END"
    )
}

/// Microseconds since 1970. PostgreSQL's binary form counts them from 2000-01-01, and goes on for
/// thirty years after the last moment that 64 bits hold from 1970; that one has no place in the
/// lake either.
fn moment(p: &str, d: &str, send: &str) -> (String, String, bool) {
    let micros = bigint(&format!("{send}({p})"));
    (
        format!(
            "CASE WHEN isfinite({p}) AND {micros} < 9222425352054775807 THEN ({micros} + \
             946684800000000)::text END"
        ),
        format!("epoch_us({d})::VARCHAR"),
        false,
    )
}

/// The whole number of eight bytes, exact, where `extract` of earlier versions rounds.
fn bigint(bytes: &str) -> String {
    format!("('x' || encode({bytes}, 'hex'))::bit(64)::bigint")
}

/// The elements in their order, each with its length, so that no two lists have one text.
fn of_list(element: Scalar, column: &Column, p: &str, d: &str, is_converted: bool) -> Canonical {
    let of_element = Column {
        // `character(3)[]` is an array of `character(3)`.
        postgres_type: column.postgres_type.trim_end_matches("[]").to_owned(),
        ..column.clone()
    };
    let text = Canonical {
        is_free: true,
        is_converted,
        ..of_scalar(element, &of_element, "e", "e")
    };
    let [postgres, duckdb] = text.part();
    Canonical {
        postgres: format!(
            "CASE WHEN num_nulls({p}) = 0 THEN coalesce((SELECT string_agg({postgres}, '' ORDER BY \
             n) FROM unnest({p}) WITH ORDINALITY u(e, n)), '') END"
        ),
        duckdb: format!("array_to_string(list_transform({d}, lambda e: {duckdb}), '')"),
        shown_by_duckdb: format!("({d})::VARCHAR"),
        is_free: true,
        is_converted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(column_type: impl Into<ColumnType>, postgres_type: &str) -> Column {
        Column {
            name: "c".to_owned(),
            column_type: column_type.into(),
            postgres_type: postgres_type.to_owned(),
            as_text: false,
            not_null: false,
            generated: false,
            number: None,
        }
    }

    #[test]
    fn a_text_has_its_length_before_it_and_a_number_has_not() {
        let text = Canonical::of(&column(Scalar::Text, "text"), "v", "w", false);
        let number = Canonical::of(&column(Scalar::Int32, "integer"), "v", "w", false);
        assert_eq!(
            joined([&number, &text]),
            [
                "(coalesce((v)::text, 'N') || ',' || coalesce(octet_length((v)::text) || ':' || \
                 ((v)::text), 'N'))",
                "(coalesce((w)::VARCHAR, 'N') || ',' || coalesce(strlen((w)::VARCHAR) || ':' || \
                 ((w)::VARCHAR), 'N'))",
            ]
        );
        assert_eq!(joined([]), ["''", "''"]);
    }
}
