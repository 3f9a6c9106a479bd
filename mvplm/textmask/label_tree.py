"""A fixed list of labels as a tree of bytes."""

from collections.abc import Sequence


class LabelTree:
    """Nodes are numbers, 0 is the root.

    Args:
        labels: what may be written; none may be empty.

    Attributes:
        children: per node, the node behind each byte. is_label: whether a label ends there.
        depth: bytes to the nearest end of a label. index: position of the label that ends there, else -1.
    """

    def __init__(self, labels: Sequence[bytes]) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.index = [-1]
        for place, label in enumerate(labels):
            node = 0
            for byte in label:
                if byte not in self.children[node]:
                    self.children[node][byte] = len(self.children)
                    self.children.append({})
                    self.index.append(-1)
                node = self.children[node][byte]
            self.index[node] = place
        self.is_label = [place >= 0 for place in self.index]
        self.depth = [0] * len(self.children)
        # Children have larger numbers than their parents.
        for node in reversed(range(len(self.children))):
            if not self.is_label[node]:
                self.depth[node] = 1 + min((self.depth[child] for child in self.children[node].values()), default=0)
