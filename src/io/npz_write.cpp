#include <zip.h>

#include <array>
#include <cerrno>
#include <deque>
#include <exception>
#include <memory>
#include <stdexcept>

#include <nvfp4/io/array.hpp>
#include <nvfp4/io/error.hpp>

#include "npy.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

constexpr zip_uint16_t dos_time = 0,
                       dos_date = 1 << 5 | 1;  ///< 1980-01-01 00:00, the first that zip can hold
constexpr std::uint64_t worth_deflating = 256;

/// libzip opens nothing that it could not also read, though a new archive is never read.
const zip_int64_t writable = zip_source_make_command_bitmap(
    ZIP_SOURCE_SUPPORTS, ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
    ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_BEGIN_WRITE, ZIP_SOURCE_WRITE,
    ZIP_SOURCE_SEEK_WRITE, ZIP_SOURCE_TELL_WRITE, ZIP_SOURCE_COMMIT_WRITE, ZIP_SOURCE_ROLLBACK_WRITE,
    ZIP_SOURCE_REMOVE, -1);

/// libzip's view of an OutputFile. No exception may cross libzip: it is kept until zip_close has returned.
struct Sink {
  OutputFile& out;
  zip_error_t error{};
  std::exception_ptr thrown{};

  ~Sink() { zip_error_fini(&error); }

  zip_int64_t run(void* data, zip_uint64_t size, zip_source_cmd_t command) {
    switch (command) {
      case ZIP_SOURCE_SUPPORTS: return writable;
      case ZIP_SOURCE_STAT: return fail(ZIP_ER_READ, ENOENT);  // no archive yet: create one
      case ZIP_SOURCE_ERROR: return zip_error_to_data(&error, data, size);
      case ZIP_SOURCE_WRITE: return write(data, size);
      case ZIP_SOURCE_SEEK_WRITE: return seek(data, size);
      case ZIP_SOURCE_TELL_WRITE: return static_cast<zip_int64_t>(out.tell());
      case ZIP_SOURCE_BEGIN_WRITE:
      case ZIP_SOURCE_COMMIT_WRITE:
      case ZIP_SOURCE_ROLLBACK_WRITE:
      case ZIP_SOURCE_REMOVE:
      case ZIP_SOURCE_FREE: return 0;
      default: return fail(ZIP_ER_OPNOTSUPP);
    }
  }

 private:
  zip_int64_t fail(int code, int system = 0) {
    zip_error_set(&error, code, system);
    return -1;
  }

  zip_int64_t write(const void* data, zip_uint64_t size) {
    try {
      out.write(std::span(static_cast<const std::byte*>(data), size));
      return static_cast<zip_int64_t>(size);
    } catch (...) {
      thrown = std::current_exception();
      return fail(ZIP_ER_WRITE);
    }
  }

  zip_int64_t seek(void* data, zip_uint64_t size) {
    const zip_int64_t offset = zip_source_seek_compute_offset(out.tell(), out.size(), data, size, &error);
    if (offset >= 0) out.seek(static_cast<std::uint64_t>(offset));
    return offset < 0 ? -1 : 0;
  }
};

zip_int64_t sink_callback(void* sink, void* data, zip_uint64_t size, zip_source_cmd_t command) {
  return static_cast<Sink*>(sink)->run(data, size, command);
}

using Archive = std::unique_ptr<zip_t, void (*)(zip_t*)>;

Archive create(Sink& sink, const std::string& path) {
  zip_source_t* source = zip_source_function_create(sink_callback, &sink, &sink.error);
  Archive archive(source ? zip_open_from_source(source, ZIP_CREATE, &sink.error) : nullptr,
                  [](zip_t* z) { zip_discard(z); });
  if (archive) return archive;
  const std::string found = zip_error_strerror(&sink.error);
  if (source) zip_source_free(source);
  throw FileError(path, "zip", "an archive to write", found);
}

/// `preamble` and array.bytes are read when the archive is closed.
void add(zip_t* archive, const ArrayView& array, const std::string& preamble, Compression compression,
         const std::string& path) {
  const std::array<zip_buffer_fragment_t, 2> parts{
      {{reinterpret_cast<zip_uint8_t*>(const_cast<char*>(preamble.data())), preamble.size()},
       {reinterpret_cast<zip_uint8_t*>(const_cast<std::byte*>(array.bytes.data())), array.bytes.size()}}};
  zip_source_t* source = zip_source_buffer_fragment(archive, parts.data(), array.bytes.empty() ? 1 : 2, 0);
  const std::string name = array.info.name + ".npy";
  const zip_int64_t added = source ? zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8) : -1;
  if (source && added < 0) zip_source_free(source);
  const bool deflate = compression == Compression::deflated && array.bytes.size() >= worth_deflating;
  const auto index = static_cast<zip_uint64_t>(added);
  if (added < 0 || zip_set_file_compression(archive, index, deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0) < 0 ||
      zip_file_set_dostime(archive, index, dos_time, dos_date, 0) < 0)
    throw FileError(path, "member " + in_quotes(name), "a member that can be added", zip_strerror(archive));
}

void close(Archive& archive, const Sink& sink, const std::string& path) {
  if (zip_close(archive.get()) == 0) {
    archive.release();  // zip_close has freed it
    return;
  }
  if (sink.thrown) std::rethrow_exception(sink.thrown);
  throw FileError(path, "zip", "an archive to write", zip_strerror(archive.get()));
}

}  // namespace

void write_npz(const std::string& path, std::span<const ArrayView> arrays, Overwrite overwrite,
               Compression compression) {
  if (arrays.empty()) throw std::invalid_argument("an .npz without arrays");
  OutputFile out(path, overwrite);
  Sink sink{out};
  std::deque<std::string> preambles;
  Archive archive = create(sink, path);
  for (const ArrayView& array : arrays)
    add(archive.get(), array, preambles.emplace_back(npy_preamble(array, path)), compression, path);
  close(archive, sink, path);
  out.commit();
}

}  // namespace nvfp4::io
