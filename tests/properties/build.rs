//! Tells the library's source tree that it is compiled here.

fn main() {
    println!("cargo::rustc-cfg=properties");
    println!("cargo::rerun-if-changed=build.rs");
}
