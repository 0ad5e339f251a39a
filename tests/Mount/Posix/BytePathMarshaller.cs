using System.Runtime.InteropServices;
using System.Runtime.InteropServices.Marshalling;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>
/// A path as the kernel sees it: bytes. Each character of the string is one byte (Latin-1), so that a check can spell any name, valid
/// UTF-8 or not; a character above 0xff is refused rather than mangled.
/// </summary>
[CustomMarshaller(typeof(string), MarshalMode.ManagedToUnmanagedIn, typeof(BytePathMarshaller))]
internal static unsafe class BytePathMarshaller
{
    public static byte* ConvertToUnmanaged(string? path)
    {
        if (path is null)
        {
            return null;
        }
        byte* bytes = (byte*)NativeMemory.Alloc((nuint)path.Length + 1);
        for (int i = 0; i < path.Length; i++)
        {
            bytes[i] = checked((byte)path[i]);
        }
        bytes[path.Length] = 0;
        return bytes;
    }

    public static void Free(byte* bytes) => NativeMemory.Free(bytes);
}
