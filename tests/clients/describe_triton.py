"""The messages and methods that tritonclient ships, serialised, for a comparison with ours in another process.

One process cannot have both: their names are the same.
"""

import sys

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2


def main() -> None:
    """Writes them to standard output."""
    files = FileDescriptorSet()
    for module in (model_config_pb2, service_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    sys.stdout.buffer.write(files.SerializeToString())


if __name__ == "__main__":
    main()
