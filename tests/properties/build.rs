//! Tells the source tree of the library that it is compiled here.

fn main() {
    println!("cargo::rustc-cfg=properties");
    println!("cargo::rerun-if-changed=build.rs");
}
