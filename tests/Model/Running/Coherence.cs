using EphemeralFs.Tests.Model.Ops;

namespace EphemeralFs.Tests.Model.Running;

/// <summary>
/// Keeps a sequence of several nodes within what is promised between nodes: what was closed is seen by the next open, names and
/// attributes at once. So a node's written handles are closed before another node acts, and handles of other nodes on a file
/// are closed once its bytes have changed. Decided from the reference alone, and done to both sides.
/// </summary>
internal sealed class Coherence(Pair pair, bool severalNodes)
{
    private int lastNode;

    /// <summary>False if the operation would span two nodes: two mounts are two file systems to the kernel.</summary>
    public bool Before(Op op)
    {
        if (!severalNodes)
        {
            return true;
        }
        var slots = op.UsedSlots().Select(slot => pair.Reference.Slots[slot]).Where(slot => slot.Fd >= 0).ToList();
        if (slots.Select(slot => slot.Node).Distinct().Count() > 1)
        {
            return false;
        }
        int node = slots.Count > 0 ? slots[0].Node : op.Node;
        if (node != lastNode)
        {
            CloseWhere(slot => slot.IsDirty && slot.Node != node);
            lastNode = node;
        }
        return true;
    }

    public void After()
    {
        if (severalNodes)
        {
            foreach (var (ino, node) in pair.Reference.Changed)
            {
                CloseWhere(slot => slot.Ino == ino && slot.Node != node);
            }
        }
        pair.Reference.Changed.Clear();
        pair.Subject.Changed.Clear();
    }

    /// <summary>Before both trees are read from every node.</summary>
    public void BeforeComparison()
    {
        if (severalNodes)
        {
            CloseWhere(slot => slot.IsDirty);
        }
    }

    private void CloseWhere(Func<Slot, bool> condition)
    {
        for (int slot = 0; slot < Tree.SlotCount; slot++)
        {
            if (pair.Reference.Slots[slot].Fd >= 0 && condition(pair.Reference.Slots[slot]))
            {
                pair.Reference.Close(slot);
                pair.Subject.Close(slot);
            }
        }
    }
}
