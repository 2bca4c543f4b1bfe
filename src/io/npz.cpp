#include "npz.hpp"

#include <zip.h>

#include <algorithm>
#include <cstring>

#include <nvfp4/io/error.hpp>

#include "npy.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

/// Deflate's densest code is 2 bits for 258 bytes; whatever claims more lies.
constexpr std::uint64_t deflate_ratio = 1032;

/// All members together: a file may well be zeros, but not without end.
std::uint64_t inflated_limit(std::uint64_t file_size) { return (std::uint64_t{1} << 30) + 100 * file_size; }

std::string member_place(std::string_view name) { return "member " + in_quotes(std::string(name) + ".npy"); }

zip_stat_t checked_stat(zip_t* archive, std::uint64_t index, const std::string& file,
                        const std::string& place) {
  zip_stat_t stat;
  constexpr auto needed =
      ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  if (zip_stat_index(archive, index, 0, &stat) < 0 || (stat.valid & needed) != needed)
    throw FileError(file, place, "a zip entry", zip_strerror(archive));
  if (stat.encryption_method != ZIP_EM_NONE)
    throw FileError(file, place, "no encryption", "an encrypted member");
  const bool stored = stat.comp_method == ZIP_CM_STORE;
  if (!stored && stat.comp_method != ZIP_CM_DEFLATE)
    throw FileError(file, place, "a stored or deflated member", "method " + std::to_string(stat.comp_method));
  const bool lies = stored ? stat.size != stat.comp_size : stat.size / deflate_ratio > stat.comp_size;
  if (lies)
    throw FileError(file, place, "a size that " + std::to_string(stat.comp_size) + " bytes can hold",
                    std::to_string(stat.size));
  return stat;
}

}  // namespace

bool is_zip(std::span<const std::byte> bytes) {
  const auto starts = [&](const char* magic) {
    return bytes.size() >= 4 && std::memcmp(bytes.data(), magic, 4) == 0;
  };
  return starts("PK\3\4") || starts("PK\5\6");
}

Npz::Npz(Bytes bytes, std::string file)
    : ArrayFile(std::move(file)), bytes_(std::move(bytes)), zip_(nullptr, [](zip* z) { zip_discard(z); }) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes_.data(), bytes_.size(), 0, &error);
  if (source) zip_.reset(zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error));
  if (source && !zip_) zip_source_free(source);
  const bool twice = zip_error_code_zip(&error) == ZIP_ER_EXISTS;
  const std::string found = twice ? "two members of one name" : zip_error_strerror(&error);
  zip_error_fini(&error);
  if (!zip_) throw FileError(file_, "zip directory", "a consistent zip archive", found);
  list();
}

void Npz::list() {
  std::uint64_t total = 0, compressed = 0;
  const auto count = static_cast<std::uint64_t>(std::max<zip_int64_t>(0, zip_get_num_entries(zip_.get(), 0)));
  for (std::uint64_t i = 0; i < count; ++i) {
    const char* raw = zip_get_name(zip_.get(), i, ZIP_FL_ENC_RAW);
    std::string name = raw ? raw : "";
    const std::string place = "member " + in_quotes(name);
    if (!is_utf8(name)) throw FileError(file_, place, "a name in UTF-8", "other bytes");
    if (!name.ends_with(".npy")) continue;
    const zip_stat_t stat = checked_stat(zip_.get(), i, file_, place);
    name.resize(name.size() - 4);
    names_.push_back(name);
    members_[name] = {i, stat.size};
    total += stat.size;
    compressed += stat.comp_size;
    if (compressed > bytes_.size())
      throw FileError(file_, place, "members that do not overlap", "more bytes than the file has");
    if (total > inflated_limit(bytes_.size()))
      throw FileError(file_, place,
                      "at most " + std::to_string(inflated_limit(bytes_.size())) + " inflated bytes", "more");
  }
}

std::vector<std::string> Npz::names() const { return names_; }

const Npz::Member& Npz::member(std::string_view name) const {
  const auto found = members_.find(name);
  if (found == members_.end()) refuse_name(name);
  return found->second;
}

std::vector<std::byte> Npz::inflate(std::string_view name, const Member& member, std::uint64_t size) const {
  const auto refuse = [&](const std::string& expected, const std::string& found) {
    throw FileError(file_, member_place(name), expected, found);
  };
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> in(zip_fopen_index(zip_.get(), member.index, 0),
                                                             zip_fclose);
  if (!in) refuse("a readable member", zip_strerror(zip_.get()));
  std::vector<std::byte> bytes(size);
  for (std::uint64_t used = 0; used < size;) {
    const zip_int64_t n = zip_fread(in.get(), bytes.data() + used, size - used);
    if (n < 0) refuse("intact bytes", zip_file_strerror(in.get()));
    if (n == 0) refuse(std::to_string(member.size) + " bytes", std::to_string(used));
    used += static_cast<std::uint64_t>(n);
  }
  std::byte beyond;  // libzip compares the CRC when it meets the end
  const zip_int64_t n = size < member.size ? 0 : zip_fread(in.get(), &beyond, 1);
  if (n < 0) refuse("intact bytes", zip_file_strerror(in.get()));
  if (n > 0) refuse(std::to_string(member.size) + " bytes", "more");
  return bytes;
}

ArrayInfo Npz::info(std::string_view name) const {
  const Member& m = member(name);
  const auto beginning = inflate(name, m, std::min<std::uint64_t>(m.size, npy_header_limit));
  NpyHeader header = parse_npy_header(beginning, m.size, {file_, member_place(name) + ", "});
  return {std::string(name), header.type, std::move(header.shape)};
}

Array Npz::read(std::string_view name) const {
  const Member& m = member(name);
  return parse_npy(Bytes(inflate(name, m, m.size)), {file_, member_place(name) + ", "}, std::string(name));
}

}  // namespace nvfp4::io
