"""Reads a checkpoint as torch tensors: a .safetensors file, or a folder of one or many with its JSON documents."""
import json
from pathlib import Path

from safetensors import safe_open


class Checkpoint:
    def __init__(self, path):
        self.path = Path(path)
        self.tensors, self.metadata = {}, {}
        for file in sorted(self.path.glob("*.safetensors")) if self.path.is_dir() else [self.path]:
            with safe_open(file, framework="pt") as opened:
                self.metadata.update(opened.metadata() or {})
                for name in opened.keys():
                    self.tensors[name] = opened.get_tensor(name)

    def document(self, name):
        """A JSON document beside the tensors: a file of the folder, else an entry of the metadata."""
        file = self.path / f"{name}.json"
        text = file.read_text() if file.is_file() else self.metadata.get(name)
        return json.loads(text) if text else None

    def quantization_config(self):
        """What config.json says of the quantization, wherever a single file keeps it."""
        config = self.document("config") or {}
        return config.get("quantization_config") or self.document("quantization_config")
