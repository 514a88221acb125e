//! Which types of one column a reader can put together without changing a value.
//!
//! A reader of several Parquet files (`union_by_name = true` in DuckDB) finds a common type for a
//! column that has several. [`union`] decides for every pair of types whether that common type
//! shows every value of both as it is. Where it does not, a column with the new type is another
//! generation, which needs a name of its own in the files.
//!
//! Source: measured on DuckDB 1.5.6 and 2.0.1 with values at the edges of both types; the test
//! `crates/lake/tests/lake/unions.rs` repeats the measurement.

use crate::types::{ColumnType, Scalar};

/// Digits up to which a decimal is a number in the lake; DuckDB has no longer ones.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// What a reader makes of a column with two types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Union {
    /// Both are the same type for a reader of the lake.
    Same,
    /// The reader's common type shows every value of both as it is.
    Common,
    /// The reader would fail, change a value, or change the type of values that others rely on.
    NewGeneration,
}

/// Decides for the type of a column in older files, and the one in newer files.
///
/// The answer does not depend on the order of the two.
pub fn union(old: ColumnType, new: ColumnType) -> Union {
    match (old, new) {
        // A list is cast element by element.
        (ColumnType::List(old), ColumnType::List(new))
        | (ColumnType::Scalar(old), ColumnType::Scalar(new)) => scalars(old, new),
        _ => Union::NewGeneration,
    }
}

fn scalars(old: Scalar, new: Scalar) -> Union {
    use Scalar::{Date, Decimal, Float32, Float64, Int16, Int32, Timestamp};
    if ColumnType::Scalar(old).duckdb() == ColumnType::Scalar(new).duckdb() {
        return Union::Same;
    }
    let is_common = match (old, new) {
        // 24 and 53 bits of a floating-point number hold these integers, and not longer ones.
        (Int16, Float32 | Float64) | (Float32 | Float64, Int16) => true,
        (Int32, Float64) | (Float64, Int32) => true,
        (Float32, Float64) | (Float64, Float32) => true,
        (Date, Timestamp) | (Timestamp, Date) => true,
        (Decimal { .. }, Decimal { .. }) => {
            // The common decimal has room for the longer whole and the longer fraction.
            digits(old)
                .zip(digits(new))
                .is_some_and(|(old, new)| old.0.max(new.0) + old.1.max(new.1) <= DECIMAL_DIGITS_MAX)
        }
        (Decimal { .. }, integer) | (integer, Decimal { .. }) => {
            let decimal = if matches!(old, Decimal { .. }) {
                old
            } else {
                new
            };
            digits(decimal)
                .zip(integer_digits(integer))
                .is_some_and(|(decimal, whole)| decimal.0 >= whole)
        }
        _ => integer_digits(old).is_some() && integer_digits(new).is_some(),
    };
    if is_common {
        Union::Common
    } else {
        Union::NewGeneration
    }
}

/// The type in which a reader finds the values of both, where [`union`] has one.
pub fn common(one: ColumnType, two: ColumnType) -> Option<ColumnType> {
    if one == two {
        return Some(one);
    }
    match (union(one, two), one, two) {
        (Union::NewGeneration, ..) => None,
        // The same for a reader: 64 bits with a sign, or a text.
        (Union::Same, ColumnType::List(element), ColumnType::List(_)) => {
            Some(ColumnType::List(as_read(element)))
        }
        (Union::Same, ..) => Some(as_read(one.scalar()).into()),
        (Union::Common, ColumnType::List(one), ColumnType::List(two)) => {
            Some(ColumnType::List(wider(one, two)))
        }
        (Union::Common, ..) => Some(wider(one.scalar(), two.scalar()).into()),
    }
}

fn as_read(scalar: Scalar) -> Scalar {
    match scalar {
        Scalar::Int64 | Scalar::Oid => Scalar::Int64,
        _ => Scalar::Text,
    }
}

/// The type that holds the values of two types with a common one.
fn wider(one: Scalar, two: Scalar) -> Scalar {
    use Scalar::{Decimal, Float32, Float64, Int16, Int32, Int64, Oid, Timestamp};
    if let (Some(one), Some(two)) = (digits(one), digits(two)) {
        let (whole, scale) = (one.0.max(two.0), one.1.max(two.1));
        return Decimal {
            precision: whole + scale,
            scale: i8::try_from(scale).expect("a scale is 38 at most"),
        };
    }
    let either = |is: fn(&Scalar) -> bool| [one, two].into_iter().find(is);
    let decimal = either(|scalar| matches!(scalar, Decimal { .. }));
    let by_rank = |rank: &[Scalar]| rank.iter().copied().find(|of| *of == one || *of == two);
    let widest = by_rank(&[Float64, Float32, Timestamp, Int64, Oid, Int32, Int16]);
    decimal
        .or(widest)
        .map_or(one, |of| if of == Oid { Int64 } else { of })
}

/// Digits before and after the point of a decimal that is a number in the lake.
fn digits(scalar: Scalar) -> Option<(u8, u8)> {
    let Scalar::Decimal { precision, scale } = scalar else {
        return None;
    };
    let scale = u8::try_from(scale).ok()?;
    (precision <= DECIMAL_DIGITS_MAX).then_some((precision.checked_sub(scale)?, scale))
}

/// The digits of the longest integer of a type.
fn integer_digits(scalar: Scalar) -> Option<u8> {
    match scalar {
        Scalar::Int16 => Some(5),
        Scalar::Int32 => Some(10),
        Scalar::Int64 | Scalar::Oid => Some(19),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(precision: u8, scale: i8) -> Scalar {
        Scalar::Decimal { precision, scale }
    }

    #[test]
    fn the_common_type_holds_both() {
        use Scalar::{Bool, Date, Float32, Float64, Int16, Int32, Int64, Oid, Text, Timestamp};
        for (one, two, expected) in [
            (Int16, Int64, Some(Int64)),
            (Int32, Oid, Some(Int64)),
            (Int64, Oid, Some(Int64)),
            (Int16, Float32, Some(Float32)),
            (Int32, Float64, Some(Float64)),
            (Float32, Float64, Some(Float64)),
            (Date, Timestamp, Some(Timestamp)),
            (decimal(10, 2), decimal(12, 6), Some(decimal(14, 6))),
            (Int32, decimal(12, 2), Some(decimal(12, 2))),
            (decimal(60, 3), Text, Some(Text)),
            (Bool, Int16, None),
        ] {
            let expected = expected.map(ColumnType::Scalar);
            assert_eq!(common(one.into(), two.into()), expected, "{one:?} {two:?}");
            assert_eq!(common(two.into(), one.into()), expected, "{two:?} {one:?}");
        }
    }

    #[test]
    fn the_decisions_are_those_that_were_measured() {
        use Scalar::{
            Bool, Date, Float32, Float64, Int16, Int32, Int64, Json, Oid, Text, Timestamp,
            TimestampTz, Uuid,
        };
        use Union::{Common, NewGeneration, Same};
        for (old, new, expected) in [
            (Int16, Int64, Common),
            (Int64, Oid, Same),
            (Int16, Float32, Common),
            (Int32, Float32, NewGeneration),
            (Int32, Float64, Common),
            (Int64, Float64, NewGeneration),
            (Float32, Float64, Common),
            (decimal(10, 2), decimal(20, 2), Common),
            (decimal(38, 0), decimal(38, 10), NewGeneration),
            (decimal(28, 0), decimal(20, 10), Common),
            (decimal(29, 0), decimal(20, 10), NewGeneration),
            (decimal(10, 2), decimal(60, 3), NewGeneration),
            (decimal(60, 3), Text, Same),
            (decimal(60, 3), decimal(40, 0), Same),
            (Int32, decimal(12, 2), Common),
            (Int32, decimal(10, 2), NewGeneration),
            (Int64, decimal(19, 0), Common),
            (Float64, decimal(30, 20), NewGeneration),
            (Text, Json, NewGeneration),
            (Text, Int32, NewGeneration),
            (Int32, Uuid, NewGeneration),
            (Bool, Int16, NewGeneration),
            (Date, Timestamp, Common),
            (Date, TimestampTz, NewGeneration),
            (Timestamp, TimestampTz, NewGeneration),
        ] {
            assert_eq!(
                union(old.into(), new.into()),
                expected,
                "{old:?} -> {new:?}"
            );
            assert_eq!(
                union(new.into(), old.into()),
                expected,
                "{new:?} -> {old:?}"
            );
            let (old, new) = (ColumnType::List(old), ColumnType::List(new));
            assert_eq!(union(old, new), expected, "{old:?} -> {new:?}");
        }
        assert_eq!(union(Int32.into(), ColumnType::List(Int32)), NewGeneration);
    }
}
