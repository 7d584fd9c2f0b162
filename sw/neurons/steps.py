"""The former home of the neurons; import them from sw.neurons."""

from sw.neurons import Leak, MultiLevelIF, OneHotMLIF

__all__ = ["Leak", "MultiLevelIF", "OneHotMLIF"]
