"""Reading and writing files, one module per format; heavy packages are imported only when a file needs them."""

from resolvent.data.io.maps import read_maps
from resolvent.data.io.output import OutputError, check_writable
from resolvent.data.io.reading import read
from resolvent.data.io.writing import write

__all__ = ["OutputError", "check_writable", "read", "read_maps", "write"]
