"""What runs in the child process that owns NVML: the standard library and pynvml, nothing else of ours.

Started by location (`python -c`, with this directory's parent on the path), so that it has the memory of neither
the agent nor the sources.
"""
