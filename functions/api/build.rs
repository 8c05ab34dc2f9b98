//! Packs what the bootstrap carries of documents: of Swagger UI the two files that the page of `/docs` needs, and the
//! document of the whole API. Unpacked they would be a third of the bootstrap.

use std::borrow::Cow;
use std::error::Error;
use std::fs::File;
use std::io::{Cursor, Read, copy};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// From the folder of this crate.
const DOCUMENT: &str = "../../docs/openapi.json";
const NEEDED: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write")]
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for name in NEEDED {
        let end = format!("/dist/{name}");
        let paths = archive.file_names().filter_map(Result::ok);
        let path = paths.map(Cow::into_owned).find(|path| path.ends_with(&end)).ok_or(end)?;
        pack(archive.by_name(&path)?, &out.join(format!("{name}.gz")))?;
    }
    println!("cargo::rerun-if-changed={DOCUMENT}");
    pack(File::open(DOCUMENT)?, &out.join("openapi.json.gz"))
}

fn pack(mut from: impl Read, to: &Path) -> Result<(), Box<dyn Error>> {
    let mut packed = GzEncoder::new(File::create(to)?, Compression::best());
    copy(&mut from, &mut packed)?;
    packed.finish()?;
    Ok(())
}
