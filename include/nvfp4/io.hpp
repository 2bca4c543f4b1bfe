#pragma once
/// File formats, library nvfp4::io. Every reader treats its file as hostile: whatever the bytes are, it
/// returns or throws FileError, and allocates no more than the file can justify.
#include <nvfp4/io/array.hpp>
#include <nvfp4/io/bytes.hpp>
#include <nvfp4/io/error.hpp>
#include <nvfp4/io/gguf.hpp>
#include <nvfp4/io/gguf_metadata.hpp>
#include <nvfp4/io/golden.hpp>
#include <nvfp4/io/matrix.hpp>
#include <nvfp4/io/output.hpp>
#include <nvfp4/io/quantized.hpp>
#include <nvfp4/io/recipe.hpp>
#include <nvfp4/io/safetensors.hpp>
#include <nvfp4/io/state.hpp>
