use super::*;
use crate::release::api::names::Library;

fn lines(source: &str) -> Vec<String> {
    of(&Library::read("my-crate", &syn::parse_file(source).unwrap()).unwrap())
}

#[test]
fn an_item_of_a_private_module_is_recorded_by_the_path_of_its_re_export() {
    let source = "mod inner { pub struct A { pub x: u8, y: u8 } pub struct Unseen; impl A { pub fn a(mut self) {} fn b() {} } }
                  pub use inner::A;";
    assert_eq!(
        lines(source),
        ["pub fn my_crate::A::a(self)", "pub my_crate::A::x: u8", "pub struct my_crate::A { .. }"]
    );
}

#[test]
fn names_are_qualified_whatever_a_file_imports() {
    let by_import = "pub mod a { use std::fmt; use super::b::B; pub fn f(b: &B<u8>, f: fmt::Result) {} } pub mod b { pub type B<T> = T; }";
    let by_path = "pub mod a { pub fn f(b: &crate::b::B<u8>, f: std::fmt::Result) {} } pub mod b { pub type B<T> = T; }";
    assert_eq!(lines(by_import), lines(by_path));
    assert_eq!(lines(by_import)[0], "pub fn my_crate::a::f(b: &my_crate::b::B<u8>, f: std::fmt::Result)");
}

#[test]
fn a_glob_brings_everything_that_is_public_and_a_second_path_is_an_alias() {
    let source = "mod inner { pub const A: u8 = 1; pub(crate) const B: u8 = 2; } pub use inner::*; pub mod more { pub use crate::A as C; }";
    assert_eq!(lines(source), ["pub const my_crate::A: u8", "pub use my_crate::A as my_crate::more::C"]);
}

#[test]
fn other_crates_items_are_re_exports() {
    assert_eq!(
        lines("pub use other as abi; pub use other::x::*;"),
        ["pub use other::x as my_crate::*", "pub use other as my_crate::abi",]
    );
}

#[test]
fn enumerations_and_traits_have_a_line_for_each_member() {
    let source = "#[non_exhaustive] pub enum E { A, B { #[source] x: u8 }, C(u8) }
                  pub trait T: Send { type O; const N: u8 = 1; fn a(&self) -> Self::O; fn b(&self) {} }";
    assert_eq!(
        lines(source),
        [
            "#[non_exhaustive] pub enum my_crate::E",
            "pub my_crate::E::A",
            "pub my_crate::E::B { x: u8 }",
            "pub my_crate::E::C(u8)",
            "const my_crate::T::N: u8 { .. }",
            "fn my_crate::T::a(&self) -> Self::O",
            "fn my_crate::T::b(&self) { .. }",
            "pub trait my_crate::T: Send",
            "type my_crate::T::O",
        ]
    );
}

#[test]
fn implementations_are_recorded_where_both_sides_are_seen() {
    let source = "pub struct A; struct B; trait Own {} impl Own for A {}
                  impl From<A> for u32 { fn from(a: A) -> u32 { 0 } } impl Clone for B {}
                  #[automatically_derived] impl ::core::clone::Clone for A where u8: Copy {}
                  impl ::core::marker::StructuralPartialEq for A {}
                  impl Iterator for A { type Item = u8; }
                  const _: () = { struct Inner; impl Inner { pub fn x() {} } impl A { pub fn y() {} } };";
    assert_eq!(
        lines(source),
        [
            "impl Iterator for my_crate::A { type Item = u8 }",
            "impl core::clone::Clone for my_crate::A",
            "pub fn my_crate::A::y()",
            "pub struct my_crate::A",
            "impl From<my_crate::A> for u32",
        ]
    );
}

#[test]
fn what_is_hidden_is_no_promise() {
    let source = "#[doc(hidden)] pub mod a { pub struct A; } #[doc(hidden)] pub fn b() {} pub struct C { #[doc(hidden)] pub x: u8 }";
    assert_eq!(lines(source), ["pub struct my_crate::C { .. }"]);
}

#[test]
fn a_macro_is_recorded_if_it_is_exported() {
    let source = "mod inner { #[macro_export] macro_rules! a { () => {} } macro_rules! b { () => {} } }";
    assert_eq!(lines(source), ["pub macro my_crate::a!"]);
}
