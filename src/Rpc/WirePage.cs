namespace EphemeralFs.Rpc;

/// <summary>Cuts what does not fit one frame into pages.</summary>
public static class WirePage
{
    /// <summary>A page that has this many bytes takes no more; one element is never larger than what a frame has left then.</summary>
    private const int FullBytes = 256 << 10;

    /// <summary>As many of the first elements as a page takes, at least one.</summary>
    /// <param name="items">The elements from the first one that is wanted on.</param>
    /// <param name="end">Whether those are all.</param>
    public static T[] Of<T>(IEnumerable<T> items, out bool end)
        where T : struct, IWireMessage<T>
    {
        var page = new List<T>();
        var written = new WireWriter(new byte[1024]);
        foreach (var item in items)
        {
            if (written.Length >= FullBytes)
            {
                end = false;
                return [.. page];
            }

            item.Write(ref written);
            page.Add(item);
        }

        end = true;
        return [.. page];
    }
}
