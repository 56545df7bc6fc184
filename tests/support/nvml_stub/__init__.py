"""A stand-in for libnvidia-ml.so.1 in C, and the driver behind it, which a test steers while it runs.

driver = Driver(tmp_path)
process = subprocess.Popen(command, env={**os.environ, **driver.environment})
driver.set(lost=[3])
driver.healthy()
"""

from .driver import VALUES, Driver, Settings, device_uuid
from .library import NoCompiler, build

__all__ = ["VALUES", "Driver", "NoCompiler", "Settings", "build", "device_uuid"]
