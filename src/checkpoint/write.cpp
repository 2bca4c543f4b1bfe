#include "write.hpp"

#include <cstdio>
#include <future>
#include <optional>
#include <stdexcept>

#include "background.hpp"
#include "container.hpp"
#include "partial_folder.hpp"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

/// Consecutive groups that become one file.
struct Shard {
  std::string name;
  std::vector<TensorGroup> groups;
};

std::vector<OutputTensor> tensors_of(const Shard& shard) {
  std::vector<OutputTensor> tensors;
  for (const TensorGroup& group : shard.groups)
    tensors.insert(tensors.end(), group.tensors.begin(), group.tensors.end());
  return tensors;
}

std::vector<Shard> sharded(std::vector<TensorGroup> groups, std::uint64_t most) {
  std::vector<Shard> shards(1);
  std::uint64_t size = 0;
  for (TensorGroup& group : groups) {
    if (size && size + group.bytes() > most) shards.emplace_back(), size = 0;
    size += group.bytes();
    shards.back().groups.push_back(std::move(group));
  }
  return shards;
}

/// As the Hub has them.
void name_shards(std::vector<Shard>& shards) {
  char name[64];
  for (std::size_t i = 0; i < shards.size(); ++i) {
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    shards[i].name = shards.size() == 1 ? "model.safetensors" : name;
  }
}

/// model.safetensors.index.json.
std::string index_json(const std::vector<Shard>& shards) {
  Json map = Json::object();
  auto& entries = map.get_ref<Json::object_t&>();  // operator[] looks through all before
  std::uint64_t total = 0;
  for (const Shard& shard : shards)
    for (const TensorGroup& group : shard.groups) {
      total += group.bytes();
      for (const OutputTensor& t : group.tensors) entries.emplace_back(t.info.name, shard.name);
    }
  return Json{{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}}.dump(2) + "\n";
}

/// The SHA-256 of every file of the input, made while the tensors are: a thread for each file.
class InputDigest {
 public:
  explicit InputDigest(const Checkpoint& source) {
    for (const CheckpointFile& file : source.files())
      digests_.push_back(
          {file.name, std::async(std::launch::async, [&file] { return io::sha256_by_pieces(file.bytes); })});
  }
  /// Of one file its digest, of more an object of them by name.
  Json get() {
    Json all = Json::object();
    for (auto& [name, digest] : digests_) all[name] = digest.get();
    return all.size() == 1 ? all.begin().value() : all;
  }

 private:
  std::vector<std::pair<std::string, std::future<std::string>>> digests_;
};

/// Of get()'s length, to be replaced by it.
Json no_digest(const Checkpoint& source) {
  const std::string blank(64, '0');
  Json all = Json::object();
  for (const CheckpointFile& file : source.files()) all[file.name] = blank;
  return all.size() == 1 ? Json(blank) : all;
}

std::string provenance(const CheckpointPlan& plan, Json input_digest) {
  Json json = plan.provenance;
  json["input_sha256"] = std::move(input_digest);
  return json.dump();
}

/// Counts the input's bytes for whoever watches.
class Watched {
 public:
  Watched(const CheckpointWatch& watch, const CheckpointPlan& plan) : watch_(watch) {
    for (const TensorGroup& group : plan.groups) total_ += static_cast<std::int64_t>(group.input_bytes);
  }
  void begin(const TensorGroup& group) const {
    if (watch_) watch_({done_, total_, group.tensors.front().info.name});
  }
  void end(const TensorGroup& group) { done_ += static_cast<std::int64_t>(group.input_bytes); }

 private:
  const CheckpointWatch& watch_;
  std::int64_t done_ = 0, total_ = 0;
};

void pad_to(std::uint64_t offset, io::OutputFile& out) {
  static constexpr std::byte zeros[4096] = {};
  while (out.tell() < offset)
    out.write(std::span(zeros).first(std::min<std::uint64_t>(sizeof zeros, offset - out.tell())));
}

/// One file's header and tensors, each written while the next is made.
void write_tensors(const Shard& shard, const FileLayout& layout, io::OutputFile& out, Watched& watched) {
  out.write(layout.header);
  Background disk;
  auto begin = layout.begins.begin();
  for (const TensorGroup& group : shard.groups) {
    watched.begin(group);
    disk.push([&out, begin, parts = group.make()]() mutable {
      for (const io::Bytes& part : parts) {
        pad_to(*begin++, out);
        out.write(part.view());
        part.release();
      }
    });
    begin += static_cast<std::ptrdiff_t>(group.tensors.size());
    watched.end(group);
  }
  disk.finish();
  pad_to(layout.size, out);
}

/// The documents are entries of the file's metadata.
void write_file(CheckpointPlan plan, const Checkpoint& source, std::string_view container,
                const CheckpointTarget& target, const CheckpointWatch& watch) {
  Watched watched(watch, plan);
  InputDigest digest(source);
  const bool has_holes = container == "gguf";
  Shard shard{target.path, has_holes ? std::move(plan.groups) : aligned(std::move(plan.groups))};
  const auto layout_with = [&](Json input_digest) {
    io::Metadata metadata = plan.metadata;
    metadata.insert(plan.documents.begin(), plan.documents.end());
    metadata["nvfp4_provenance"] = provenance(plan, std::move(input_digest));
    return file_layout(container, tensors_of(shard), metadata);
  };
  io::OutputFile out(target.path, target.overwrite);
  write_tensors(shard, layout_with(no_digest(source)), out, watched);
  out.seek(0);
  out.write(layout_with(digest.get()).header);
  out.commit();
}

void write_shard(const Shard& shard, const CheckpointPlan& plan, const PartialFolder& folder,
                 Watched& watched) {
  io::OutputFile out(folder.file(shard.name), io::Overwrite::no);
  write_tensors(shard, file_layout("safetensors", tensors_of(shard), plan.metadata), out, watched);
  out.commit();
}

/// What fixes the bytes of every shard, so that a partial folder of another run is none of ours.
std::string fingerprint(const CheckpointPlan& plan, const std::vector<Shard>& shards,
                        const Checkpoint& source) {
  std::string text = plan.provenance.dump();
  for (const Shard& shard : shards)
    text += file_layout("safetensors", tensors_of(shard), plan.metadata).header;
  for (const auto& [name, document] : plan.documents) text += name + document;
  for (const CheckpointFile& file : source.files()) text += file_state(file.path);
  return io::sha256(std::as_bytes(std::span(text)));
}

void write_folder(CheckpointPlan plan, const Checkpoint& source, const CheckpointTarget& target,
                  const CheckpointWatch& watch) {
  Watched watched(watch, plan);
  std::vector<Shard> shards = sharded(std::move(plan.groups), target.shard_bytes);
  name_shards(shards);
  for (Shard& shard : shards) shard.groups = aligned(std::move(shard.groups));
  PartialFolder folder(target, fingerprint(plan, shards, source));
  InputDigest digest(source);
  for (const Shard& shard : shards)
    if (folder.has(shard.name))
      for (const TensorGroup& group : shard.groups) watched.end(group);
    else
      write_shard(shard, plan, folder, watched);

  plan.documents["nvfp4_provenance"] = provenance(plan, digest.get()) + "\n";
  for (const auto& [name, text] : plan.documents) folder.write(name + ".json", text);
  if (shards.size() > 1) folder.write("model.safetensors.index.json", index_json(shards));
  for (const std::string& path : plan.companions) folder.copy(path);
  folder.commit();
}

}  // namespace

void write_checkpoint(CheckpointPlan plan, const Checkpoint& source, std::string_view container,
                      const CheckpointTarget& target, const CheckpointWatch& watch) {
  refuse_collisions(plan);
  const bool one_file =
      target.path == "-" || target.path.ends_with(".safetensors") || target.path.ends_with(".gguf");
  if (target.path.ends_with(".gguf") != (container == "gguf"))
    throw std::invalid_argument(
        target.path + ": expected " +
        (container == "gguf" ? "a name that ends in .gguf" : ".safetensors or a folder"));
  if (one_file && target.resume)
    throw std::invalid_argument(target.path +
                                ": only a folder is written in parts that a later run can keep");
  one_file ? write_file(std::move(plan), source, container, target, watch)
           : write_folder(std::move(plan), source, target, watch);
}

}  // namespace nvfp4
