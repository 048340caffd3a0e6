//! Embeds the page: compresses what `make page` bundled and lists it as Rust.
//!
//! Reads `src/web/dist`, writes to `OUT_DIR` only. Without the feature `page`
//! it does nothing.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::Hasher,
    io::{self, Write},
    path::Path,
};

use flate2::{Compression, GzBuilder};

const DIST: &str = "src/web/dist";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_PAGE").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed={DIST}");
    if !Path::new(DIST).join("index.html").is_file() {
        println!(
            "cargo::error=the page is not bundled: run `make page` (it needs Node), \
             or build without it: --no-default-features"
        );
        return Ok(());
    }
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    embed(Path::new(DIST), Path::new(&out))
}

fn embed(dist: &Path, out: &Path) -> io::Result<()> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(dist)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    let mut list = String::from("&[\n");
    for name in &names {
        let plain = fs::read(dist.join(name))?;
        fs::write(out.join(format!("{name}.gz")), gzip(&plain)?)?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&plain);
        let (path, tag) = (path_of(name), hasher.finish());
        list += &format!(
            "File {{ path: {path:?}, media_type: {:?}, tag: \"\\\"{tag:016x}\\\"\", \
             length: {}, gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.gz\")) }},\n",
            media_type(name),
            plain.len(),
        );
    }
    list.push_str("]\n");
    fs::write(out.join("page.rs"), list)
}

fn path_of(name: &str) -> String {
    if name == "index.html" { "/".into() } else { format!("/{name}") }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// No file name and no time in it, so that the same page gives the same bytes.
fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(plain)?;
    encoder.finish()
}
