using System.Globalization;
using System.Text;

namespace EphemeralFs.Bench.Native;

/// <summary>NUL-terminated names made before the clock starts: <c>prefix</c> and a number of six digits.</summary>
internal sealed unsafe class NameTable : IDisposable
{
    private readonly NativeBuffer _names;
    private readonly int _stride;

    public NameTable(string prefix, int count)
    {
        _stride = Encoding.UTF8.GetByteCount(prefix) + 7;
        _names = new NativeBuffer((long)_stride * Math.Max(count, 1));
        for (int i = 0; i < count; i++)
        {
            byte[] name = Sys.Terminated(prefix + i.ToString("D6", CultureInfo.InvariantCulture));
            name.CopyTo(new Span<byte>(this[i], _stride));
        }
    }

    public byte* this[int index] => _names.Pointer + ((long)index * _stride);

    public void Dispose() => _names.Dispose();
}
