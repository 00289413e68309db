//! How the arguments and the result of a call are encoded, as text. A caller and a worker of different builds compare
//! it before a call runs.

use std::fmt;
use std::sync::Arc;

use super::data::{Arguments, Data};
use crate::wire::shape;

/// The forms of the arguments, then that of the result, such as `u64,text>*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape(Arc<str>);

impl Shape {
    pub(crate) fn of<A: Arguments<M>, M, R: Data>() -> Self {
        let args = A::forms().join(",");
        Self(format!("{args}>{}", shape::form::<R>()).into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::executor::task::Task;

    fn shape_of<F, A, M>(_: F) -> String
    where
        F: Task<A, M>,
        F::Output: Data,
        A: Arguments<M>,
    {
        Shape::of::<A, M, F::Output>().to_string()
    }

    #[test]
    fn a_shape_names_each_argument_and_the_result() {
        assert_eq!(shape_of(|| ()), ">()");
        assert_eq!(shape_of(|_: ()| 1_u8), "()>u8");
        assert_eq!(shape_of(u64::pow), "u64,u32>u64");
        assert_eq!(shape_of(|pair: (u64, u32)| pair.0), "*>u64");
        assert_eq!(shape_of(|_: Vec<f64>| String::new()), "[f64]>text");
        assert_eq!(shape_of(|_: BTreeMap<u8, u8>| Some(1_u64)), "*>*");
        assert_eq!(
            shape_of(|_: u8, _: i8, _: u16, _: i16, _: u32, _: i32, _: bool, _: Vec<u8>| 'c'),
            "u8,i8,u16,i16,u32,i32,*,bytes>*"
        );
    }
}
