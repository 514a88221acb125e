//! Arrays into lists.
//!
//! Binary format (`array_send`): number of dimensions, whether there are nulls, the element's oid,
//! 32 bits each; of each dimension its length and its first index; then every element with its
//! length in front, -1 for null. An array of no dimension is empty.
//!
//! A list has one dimension and begins at 1. An array that does not, and one with an element that
//! no Arrow value can hold, is unfit as a whole.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use inlet_model::{ColumnType, Scalar};

use super::array_text::array_text;
use super::column::ColumnBuilder;
use super::value::Misfit;

const NUMBER: usize = 4;
const HEADER: usize = 3 * NUMBER;

pub(super) struct ListBuilder {
    element: Scalar,
    elements: ColumnBuilder,
    /// Elements appended, used or left over by an array that did not fit.
    count: i32,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl ListBuilder {
    /// A builder with room for `rows` lists; `bytes` is what their elements of no fixed width take
    /// together.
    pub(super) fn new(element: Scalar, rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        let elements = ColumnBuilder::of_scalar(element, rows, bytes);
        Self {
            element,
            elements,
            count: 0,
            offsets,
            nulls: NullBufferBuilder::new(rows),
        }
    }

    /// Appends an array in PostgreSQL's binary format. What does not fit leaves elements over
    /// that the next null covers.
    #[inline(never)]
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        let mut reader = ArrayReader::new(bytes)?;
        if reader.dimensions.len() > 1
            || reader
                .dimensions
                .iter()
                .any(|dimension| dimension.first != 1)
        {
            return Err(Misfit::Unfit(array_text(bytes, self.element)?));
        }
        while let Some(element) = reader.element()? {
            match element {
                None => self.elements.append_null(),
                Some(value) => match self.elements.append(value) {
                    Ok(()) => {}
                    Err(Misfit::Unfit(_)) => {
                        return Err(Misfit::Unfit(array_text(bytes, self.element)?));
                    }
                    Err(Misfit::Malformed) => return Err(Misfit::Malformed),
                },
            }
            self.count += 1;
        }
        self.offsets.push(self.count);
        self.nulls.append_non_null();
        Ok(())
    }

    pub(super) fn append_null(&mut self) {
        self.offsets.push(self.count);
        self.nulls.append_null();
    }

    /// The bytes held by elements without a fixed width, else 0.
    pub(super) fn variable_bytes(&self) -> usize {
        self.elements.variable_bytes()
    }

    /// The column; the builder is spent.
    pub(super) fn finish(mut self) -> ArrayRef {
        let DataType::List(field) = ColumnType::List(self.element).arrow() else {
            unreachable!("a list has a list's type")
        };
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Arc::new(ListArray::new(
            field,
            offsets,
            self.elements.finish(),
            self.nulls.finish(),
        ))
    }
}

/// A dimension of an array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dimension {
    /// How many it holds.
    pub(super) length: usize,
    /// The index of the first.
    pub(super) first: i32,
}

/// Reads an array, element by element in the order of storage.
pub(super) struct ArrayReader<'a> {
    /// At most six, PostgreSQL's bound.
    pub(super) dimensions: Dimensions,
    left: usize,
    rest: &'a [u8],
}

/// The dimensions of one array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dimensions {
    all: [Dimension; 6],
    count: usize,
}

impl std::ops::Deref for Dimensions {
    type Target = [Dimension];

    fn deref(&self) -> &[Dimension] {
        &self.all[..self.count]
    }
}

impl<'a> ArrayReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Misfit> {
        let (header, mut rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(Misfit::Malformed)?;
        let count =
            usize::try_from(number(&mut header.as_slice())?).map_err(|_| Misfit::Malformed)?;
        let mut dimensions = Dimensions {
            all: [Dimension {
                length: 0,
                first: 1,
            }; 6],
            count,
        };
        for dimension in dimensions.all.get_mut(..count).ok_or(Misfit::Malformed)? {
            dimension.length =
                usize::try_from(number(&mut rest)?).map_err(|_| Misfit::Malformed)?;
            dimension.first = number(&mut rest)?;
        }
        let product = dimensions.iter().try_fold(1_usize, |product, dimension| {
            product.checked_mul(dimension.length)
        });
        // The product of no dimension would be 1, but such an array is empty.
        let left = if count == 0 {
            0
        } else {
            product.ok_or(Misfit::Malformed)?
        };
        Ok(Self {
            dimensions,
            left,
            rest,
        })
    }

    /// The next element, `Some(None)` for null; `None` after the last one.
    #[inline]
    pub(super) fn element(&mut self) -> Result<Option<Option<&'a [u8]>>, Misfit> {
        if self.left == 0 {
            return if self.rest.is_empty() {
                Ok(None)
            } else {
                Err(Misfit::Malformed)
            };
        }
        self.left -= 1;
        let length = number(&mut self.rest)?;
        if length == -1 {
            return Ok(Some(None));
        }
        let length = usize::try_from(length).map_err(|_| Misfit::Malformed)?;
        let (value, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Misfit::Malformed)?;
        self.rest = rest;
        Ok(Some(Some(value)))
    }
}

#[inline]
fn number(rest: &mut &[u8]) -> Result<i32, Misfit> {
    let (bytes, behind) = rest
        .split_first_chunk::<NUMBER>()
        .ok_or(Misfit::Malformed)?;
    *rest = behind;
    Ok(i32::from_be_bytes(*bytes))
}
